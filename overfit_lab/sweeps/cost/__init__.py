"""What a run costs before it is trained: arithmetic, seconds, memory, disk."""
