"""Every family of components, in one place. Importing this imports no component; reading a registry does."""

from __future__ import annotations

from overfit_lab.registry import Registry

DATASETS = Registry("dataset", "overfit_lab.data")
MODELS = Registry("model", "overfit_lab.models")
LAYOUTS = Registry("layout", "overfit_lab.models.layouts")
ATTACKS = Registry("attack", "overfit_lab.attacks")
LABELS = Registry("label mode", "overfit_lab.labels")
OBJECTIVES = Registry("objective", "overfit_lab.objectives")
REGULARIZERS = Registry("regularizer", "overfit_lab.regularizers")
SCHEDULES = Registry("schedule", "overfit_lab.schedules")
PROBES = Registry("metric", "overfit_lab.probes")
PRIORS = Registry("prior", "overfit_lab.priors")
FIGURES = Registry("figure", "overfit_lab.figures")
CHECKS = Registry("check", "overfit_lab.checks")
TABLES = Registry("table", "overfit_lab.tables")
SINKS = Registry("sink", "overfit_lab.sinks")
FINDINGS = Registry("finding", "overfit_lab.diagnosis")
SECTIONS = Registry("report section", "overfit_lab.report.sections")
HARDWARE = Registry("hardware", "overfit_lab.cost.machines")
BACKENDS = Registry("backend", "overfit_lab.sweeps.backends")
