"""Interactive figures for notebooks."""
