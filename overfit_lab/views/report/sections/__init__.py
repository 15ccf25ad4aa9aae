"""The sections of the report, one a file with ``REGISTER = {"name": Section(...)}``."""
