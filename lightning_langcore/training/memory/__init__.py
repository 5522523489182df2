"""The memory that a training needs, from shapes alone."""
