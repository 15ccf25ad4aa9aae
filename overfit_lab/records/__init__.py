"""The record store: what a run folder holds, how it is written and how it is read."""
