"""Probes: each chooses inputs from a snapshot, calls a metric and names the fields."""
