"""Any training loop, watched: the monitor, and callbacks of other trainers."""
