"""The command `overfit-lab`."""
