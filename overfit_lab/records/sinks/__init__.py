"""Mirrors of a run's records in other tools, one a file; the run folder stays the one truth."""
