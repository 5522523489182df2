"""A number for every weight, and the regions that these numbers select."""
