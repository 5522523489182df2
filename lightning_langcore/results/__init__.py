"""What runs measured, and comparisons of several runs."""
