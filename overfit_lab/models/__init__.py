"""Architectures, normalisation inside the model, penultimate features, and safe loading of weights."""
