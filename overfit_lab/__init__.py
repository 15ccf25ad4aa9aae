"""overfit-lab: see when, why and how adversarially trained networks overfit robustly."""

from overfit_lab.version import __version__

__all__ = ["__version__"]
