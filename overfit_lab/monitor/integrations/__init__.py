"""The monitor inside other people's trainers; each file needs its own package and is imported by name."""
