"""The statements behind SGLR as functions: each side of an identity, each bound, each condition, on tensors."""
