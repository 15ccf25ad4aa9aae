"""Named hardware, one maker a file."""
