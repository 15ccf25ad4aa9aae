"""Attacks: each maximises a loss of the logits inside a threat model."""
