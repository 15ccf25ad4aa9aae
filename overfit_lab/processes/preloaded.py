"""What the server of :mod:`overfit_lab.processes.server` loads before processes are forked from it.

Modules are loaded by name: which rooms they are in is none of this one's business.
"""

from __future__ import annotations

import importlib
import os
from contextlib import suppress

MODULES = (
    "overfit_lab.sweeps.work",
    "overfit_lab.sweeps.cells",
    "overfit_lab.sweeps.backends.local",
    "overfit_lab.training.run",
    "overfit_lab.cli.main",
    "sklearn.datasets",
    "threadpoolctl",
)

os.chdir(os.sep)  # the folder that it was begun in may be removed meanwhile; a job brings its own along
for name in MODULES:
    with suppress(ImportError):  # the job that needs it says so
        importlib.import_module(name)
