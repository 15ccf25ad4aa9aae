"""Every family of components, in one place. Importing this imports no component; reading a registry does."""

from __future__ import annotations

from overfit_lab.config.registry import Registry

DATASETS = Registry("dataset", "overfit_lab.data", prefixes=True)
MODELS = Registry("model", "overfit_lab.models", prefixes=True)
LAYOUTS = Registry("layout", "overfit_lab.models.layouts")
ATTACKS = Registry("attack", "overfit_lab.methods.attacks")
LABELS = Registry("label mode", "overfit_lab.methods.labels")
OBJECTIVES = Registry("objective", "overfit_lab.methods.objectives")
REGULARIZERS = Registry("regularizer", "overfit_lab.methods.regularizers")
SCHEDULES = Registry("schedule", "overfit_lab.methods.schedules")
PROBES = Registry("metric", "overfit_lab.probes")
PRIORS = Registry("prior", "overfit_lab.probes.priors")
FIGURES = Registry("figure", "overfit_lab.views.figures")
CHECKS = Registry("check", "overfit_lab.evaluation.checks")
TABLES = Registry("table", "overfit_lab.views.tables")
SINKS = Registry("sink", "overfit_lab.records.sinks")
FINDINGS = Registry("finding", "overfit_lab.views.diagnosis")
SECTIONS = Registry("report section", "overfit_lab.views.report.sections")
HARDWARE = Registry("hardware", "overfit_lab.sweeps.cost.machines")
BACKENDS = Registry("backend", "overfit_lab.sweeps.backends")
FORMATS = Registry("log format", "overfit_lab.importing.formats")
