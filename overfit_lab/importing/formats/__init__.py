"""Formats of training logs: a file here registers one."""
