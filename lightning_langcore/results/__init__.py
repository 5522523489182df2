"""What runs measured, and what several runs say beside one another."""
