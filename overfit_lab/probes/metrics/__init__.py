"""Pure functions from tensors (or a model and tensors) to numbers."""
