"""Priors: the weights theta_0 that the information in the weights is counted from."""
