"""For notebooks: figures that one can move through."""
