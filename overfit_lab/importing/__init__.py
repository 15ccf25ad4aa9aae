"""Training logs of anybody's loop, in whatever format, become run folders."""

from overfit_lab.importing.log import import_log

__all__ = ["import_log"]
