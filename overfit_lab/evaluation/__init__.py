"""Evaluation after training: attacks with an outcome for every sample, and checks whether it can be trusted."""
