"""What the server of processes loads before it forks them: the package, and what it loads when asked for."""

import contextlib
import importlib
import os
import pkgutil

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "agg"

import matplotlib.pyplot  # noqa: F401
import pandas  # noqa: F401
import seaborn  # noqa: F401
import sklearn.datasets
import torch
import torch.optim

import overfit_lab

torch.set_num_threads(1)
DIGITS = sklearn.datasets.load_digits()
for module in pkgutil.walk_packages(overfit_lab.__path__, "overfit_lab."):
    if not module.name.endswith("__main__"):
        with contextlib.suppress(ImportError):
            importlib.import_module(module.name)
