"""Curvature of the loss in the weights: one estimator of the trace a file, and what they share.

``products``: H v and GGN v. Trace: ``exact``, ``sampled``, ``hutchinson``, ``hutchpp``, ``by_pyhessian``; ``auto``
chooses. ``piecewise``: whether the exact identity holds. ``eigenvalues``: the largest; ``density``: all of them, as a
smooth density.
"""

from overfit_lab.probes.metrics.hessian.by_pyhessian import pyhessian_summary
from overfit_lab.probes.metrics.hessian.density import spectral_density
from overfit_lab.probes.metrics.hessian.eigenvalues import top_eigenvalue, top_eigenvalues
from overfit_lab.probes.metrics.hessian.exact import exact_trace
from overfit_lab.probes.metrics.hessian.hutchinson import hutchinson_trace
from overfit_lab.probes.metrics.hessian.hutchpp import hutchpp_trace
from overfit_lab.probes.metrics.hessian.piecewise import known_piecewise_linear, piecewise_linear
from overfit_lab.probes.metrics.hessian.products import ggn_product, hessian_product, trainable
from overfit_lab.probes.metrics.hessian.sampled import sampled_trace
from overfit_lab.probes.metrics.hessian.vectors import random_signs

__all__ = [
    "exact_trace",
    "ggn_product",
    "hessian_product",
    "hutchinson_trace",
    "hutchpp_trace",
    "known_piecewise_linear",
    "piecewise_linear",
    "pyhessian_summary",
    "random_signs",
    "sampled_trace",
    "spectral_density",
    "top_eigenvalue",
    "top_eigenvalues",
    "trainable",
]
