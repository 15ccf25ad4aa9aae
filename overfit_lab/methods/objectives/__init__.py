"""Outer losses of training, one objective a file."""
