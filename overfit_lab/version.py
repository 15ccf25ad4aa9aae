"""The version of the package, in one place; reading it imports nothing."""

__version__ = "0.1.0"
