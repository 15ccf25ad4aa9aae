"""Label modes: each maps a batch to a target distribution, one mode a file."""
