"""Whether an evaluation can be trusted: each check looks for one sign of masked gradients."""
