"""Per-sample weight gradients of one kind of layer a file; add a file to add a kind."""
