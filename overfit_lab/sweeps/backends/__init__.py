"""Who runs the cells of a sweep, one a file."""
