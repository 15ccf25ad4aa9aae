"""Pictures of records, one figure a file: run records in, a matplotlib figure out."""
