"""Probe what training left: checkpoints of a run folder, or a weights file that no run of ours wrote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from overfit_lab.config import ProbesConfig, RunConfig, load_config
from overfit_lab.config.trust import check_trusted
from overfit_lab.errors import ConfigError, OverfitLabError, ProbeError
from overfit_lab.files.terminal import to_stderr
from overfit_lab.models.factory import build_model
from overfit_lab.models.weights import load_into, load_weights
from overfit_lab.probes.base import Probe, dry_run, refusal, run_probe
from overfit_lab.probes.snapshot import RAW, Snapshot
from overfit_lab.records import layout
from overfit_lab.records.reader import Run
from overfit_lab.records.recorder import to_records
from overfit_lab.records.records import Record
from overfit_lab.records.writer import RunWriter
from overfit_lab.training.budget import OnBudget, Spending, chosen_before, parse_budget, training_seconds
from overfit_lab.training.doubts import doubted, say_doubt
from overfit_lab.training.events import EventBus
from overfit_lab.training.parts import make_probe
from overfit_lab.training.session import Session
from overfit_lab.training.subjects import (
    OnNote,
    at_checkpoints,
    checkpoint_files,
    data_line,
    foreign_snapshot,
    open_run,
    open_weights,
)

OnRecord = Callable[[Record], None]
"""Given each record as it is measured."""


def probe_run(
    folder: Path,
    metrics: Sequence[str],
    *,
    checkpoint: str = "final",
    splits: Sequence[str] = (),
    inputs: Sequence[str] = (),
    n: int | None = None,
    options: dict[str, dict[str, Any]] | None = None,
    weights: str = RAW,
    device: str = "auto",
    save: bool = True,
    on_record: OnRecord | None = None,
    trust: bool = False,
    on_note: OnNote | None = None,
    prior_bus: Callable[[str], EventBus] | None = None,
    budget: str | None = None,
    on_budget: OnBudget | None = None,
) -> list[Record]:
    """Measure checkpoints of a run with the same numbers as a live probe of the same settings would give.

    Settings that are not given are the run's own.

    Args:
        checkpoint: ``best``, ``final``, ``initial``, ``all`` or an epoch; several separated by commas.
        inputs: ``clean``, ``adversarial`` or both.
        n: size of the probe subset.
        weights: ``raw``, or the name of a regularizer that keeps second weights, such as ``swa``.
        device: ``auto``, ``cpu`` or ``cuda``.
        on_note: told in a line how a prior's weights file was read where that is not plain, and what is doubtful about
            the network; that is said on stderr without it.
        prior_bus: gives the bus for the events of a prior that has to be trained, by its name.
        budget: most time for all checkpoints together, a share of the run's training (``5%``) or a time (``30s``);
            the probes get as many samples as fit, and no more than ``n`` where it is given.
        on_budget: called with what was chosen and what it took.

    Raises:
        RunFolderError: no run, or no such checkpoint.
        ConfigError: an unknown metric, option or set of weights, or a budget that the fewest samples do not fit in.
        ProbeError: the run lacks what a probe needs.
    """
    allowed = parse_budget(budget) if budget is not None else None
    recorded = load_config(layout.config_path(layout.check_run(folder)))
    check_trusted(recorded, str(folder), trust=trust)
    before = (
        recorded.probes
        if allowed is not None or n is not None
        else chosen_before(recorded.probes, Run.open(folder).info)
    )
    settings = _merge(before, metrics, splits, inputs, n, options)
    probes = [make_probe(name, settings) for name in metrics]
    n_measurements = len(checkpoint_files(folder, checkpoint))
    training = training_seconds(folder) if allowed is not None else None
    session = open_run(folder, device=device, trust=trust, probes=settings)
    session.priors.save, session.priors.bus, session.priors.on_note = save, prior_bus, on_note
    spending = Spending(allowed, training, settings, probes, n_measurements, on_budget)
    records = []
    snapshots = at_checkpoints(session, folder, checkpoint, weights)
    for snapshot in doubted(snapshots, on_note, (lambda: folder) if save else None):
        with spending.measuring(snapshot) as chosen:
            records += _measure(chosen, snapshot, folder if save else None, on_record)
    spending.tell(folder if save else None)
    return records


def _merge(
    base: ProbesConfig,
    metrics: Sequence[str],
    splits: Sequence[str],
    inputs: Sequence[str],
    n: int | None,
    options: dict[str, dict[str, Any]] | None,
) -> ProbesConfig:
    content = base.model_dump()
    content["metrics"] = tuple(metrics)
    if splits:
        content["splits"] = tuple(splits)
    if inputs:
        content["inputs"] = tuple(inputs)
    if n is not None:
        content["n"] = n
    for name, values in (options or {}).items():
        content["options"] = {**content["options"], name: {**content["options"].get(name, {}), **values}}
    return ProbesConfig.model_validate(content)


def _measure(
    probes: Sequence[Probe], snapshot: Snapshot, folder: Path | None, on_record: OnRecord | None
) -> list[Record]:
    records = []
    for probe in probes:
        try:
            measurement, seconds = run_probe(probe, snapshot)
        except Exception as error:
            raise refusal(probe.name, error, "measure the others without it" if len(probes) > 1 else "") from error
        name = snapshot.name_of(probe.name)
        new = to_records(name, measurement.values, snapshot.clock, seconds, imported=snapshot.imported)
        if folder is not None:
            with RunWriter.reopen(folder) as writer:
                if measurement.arrays:
                    writer.save_arrays(name, snapshot.clock.epoch, measurement.arrays, keep_others=True)
                writer.append_posthoc(new)
        if on_record is not None:
            for record in new:
                on_record(record)
        records += new
    return records


def probe_weights(
    path: Path,
    metrics: Sequence[str],
    *,
    config: RunConfig,
    splits: Sequence[str] = (),
    inputs: Sequence[str] = (),
    n: int | None = None,
    options: dict[str, dict[str, Any]] | None = None,
    device: str = "auto",
    reference: Path | None = None,
    which: str | None = None,
    on_record: OnRecord | None = None,
    on_note: OnNote | None = None,
    budget: str | None = None,
    on_budget: OnBudget | None = None,
) -> list[Record]:
    """Measure a weights file that no run of ours wrote.

    Of several metrics, those that cannot be measured on a mere weights file are passed over with a note.

    Args:
        path: .safetensors, .pt, .pth, .ckpt, .th, .tar, .bin or .pkl; loaded as weights only.
        config: model, data, attack and seed to measure with; its training settings play no part.
        inputs: ``clean``, ``adversarial`` or both.
        n: size of the probe subset.
        device: ``auto``, ``cpu`` or ``cuda``.
        reference: weights file of theta_0, for probes that compare with it.
        which: key of the weights to take where the file holds several; None: the first that are no average.
        on_note: called with one line on how the file was read, one on the data, one on what is doubtful about the
            network, and one for each metric that is passed over.
        budget: most time, such as ``30s``; see :func:`probe_run`.
        on_budget: called with what was chosen and what it took.

    Raises:
        WeightsError: the file is unsafe, unreadable or does not fit the model.
        ConfigError: an unknown name or option.
        ProbeError: the one probe, or each of them, needs what is not there.
    """
    allowed = parse_budget(budget) if budget is not None else None
    settings = _merge(config.probes, metrics, splits, inputs, n, options)
    probes = [make_probe(name, settings) for name in metrics]
    spending = Spending(allowed, None, settings, probes, 1, on_budget)
    config = config.model_copy(update={"probes": settings})
    session = open_weights(path, config, device=device, on_note=on_note, which=which)
    snapshot = foreign_snapshot(session)
    if reference is not None:
        snapshot = replace(snapshot, reference=_reference_of(session, reference))
    say_doubt(snapshot, on_note or to_stderr)
    snapshot.priors.on_note = on_note
    spending.probes = _able(probes, snapshot, on_note)
    if on_note is not None:
        on_note(data_line(session.data.describe()))
    with spending.measuring(snapshot) as chosen:
        records = _measure(chosen, snapshot, None, on_record)
    spending.tell(None)
    return records


def _able(probes: Sequence[Probe], snapshot: Snapshot, on_note: OnNote | None) -> list[Probe]:
    """The probes that the snapshot can feed, and a note about each other one.

    Raises:
        ProbeError: it can feed none; the first one's reason.
    """
    reasons: dict[str, OverfitLabError] = {}
    for probe in probes:
        try:
            dry_run(probe, snapshot)
        except (ProbeError, ConfigError) as error:
            reasons[probe.name] = error
    if len(reasons) == len(probes):
        raise next(iter(reasons.values()))
    for reason in reasons.values():
        if on_note is not None:
            on_note(f"passed over: {reason}")
    return [probe for probe in probes if probe.name not in reasons]


def _reference_of(session: Session, path: Path) -> dict[str, torch.Tensor]:
    other = build_model(session.config.model, session.data, session.device, seed=session.config.seed)
    load_into(other, load_weights(path))
    return {name: p.detach().clone() for name, p in other.named_parameters()}
