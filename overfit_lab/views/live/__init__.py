"""Following runs while they are written, independent of a terminal."""
