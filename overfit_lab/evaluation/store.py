"""Evaluations in run folders, and a run folder for an imported weights file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from overfit_lab.config import load_config, to_yaml
from overfit_lab.errors import RunFolderError
from overfit_lab.evaluation.attackers import Attacker
from overfit_lab.evaluation.outcome import Outcome, load_outcome
from overfit_lab.evaluation.run import OnProgress, evaluate, evaluation_settings, take_samples
from overfit_lab.files.disk import disk
from overfit_lab.files.escape import for_file
from overfit_lab.probes.snapshot import Snapshot
from overfit_lab.records import identity, layout
from overfit_lab.records.environment import git_revision, hardware, now, versions
from overfit_lab.records.recorder import to_records
from overfit_lab.records.writer import RunWriter
from overfit_lab.training.session import Session
from overfit_lab.training.subjects import describe, fingerprint, save_samples
from overfit_lab.types import Measurement

PROBE = "robustness"
"""Name under which evaluations are recorded."""


def evaluate_into(
    folder: Path,
    snapshot: Snapshot,
    attacker: Attacker,
    *,
    split: str = "test",
    n: int | None = None,
    batch_size: int = 256,
    again: bool = False,
    on_progress: OnProgress | None = None,
) -> Outcome:
    """Evaluate and write outcome and records to a run folder; a complete outcome of the same evaluation is reused.

    With ``again`` it is attacked anew. For the other arguments see :func:`~overfit_lab.evaluation.run.evaluate`.

    Raises:
        RunFolderError: no run folder, another process writes to it, or a file in it is damaged.
    """
    n_samples = len(take_samples(snapshot, split, n).y)
    path = layout.evaluation_path(folder, snapshot.name_of(attacker.label), split, n_samples, snapshot.epoch)
    partial = path.with_name(f".{path.name}.begun")  # not the name under which a file is written
    with RunWriter.reopen(folder) as writer:
        known = None if again or not path.is_file() else load_outcome(path)
        if (
            known is not None
            and known.complete
            and known.settings == json.loads(json.dumps(evaluation_settings(snapshot, attacker, split, n, batch_size)))
        ):
            outcome = known
        else:
            outcome = evaluate(
                snapshot, attacker, split=split, n=n, batch_size=batch_size, partial=partial, on_progress=on_progress
            )
            made = {"ended": now(), "git_revision": git_revision(), "versions": versions()}
            place = {"device": snapshot.device.type, "hardware": hardware(snapshot.device)}
            outcome = replace(outcome, made={**made, **place})
            outcome.save(path)
        # Also where the outcome is reused: it may be that a kill came between it and its records.
        values, seconds = outcome.values(split), outcome.seconds
        records = to_records(snapshot.name_of(PROBE), values, snapshot.clock, seconds, imported=snapshot.imported)
        writer.append_posthoc(records)
        disk().unlink(partial)
    return outcome


def record_measurement(folder: Path, snapshot: Snapshot, probe: str, measurement: Measurement) -> None:
    """Write numbers and arrays that were measured on a checkpoint to its run folder.

    Raises:
        RunFolderError: no run folder, or another process writes to it.
    """
    name = snapshot.name_of(probe)
    with RunWriter.reopen(folder) as writer:
        if measurement.arrays:
            writer.save_arrays(name, snapshot.epoch or 0, measurement.arrays, keep_others=True)
        values = measurement.values
        writer.append_posthoc(to_records(name, values, snapshot.clock, None, imported=snapshot.imported))


def read_outcomes(folder: Path) -> list[Outcome]:
    """Every complete outcome of a run folder, by file name.

    Raises:
        RunFolderError: a file is damaged.
    """
    return [load_outcome(path) for path in sorted(layout.evaluations(folder).glob("*.npz"))]


def import_folder(weights: Path, session: Session, out: Path | None) -> Path:
    """The run folder of an imported weights file, created if absent.

    It holds the configuration that the weights are measured with and facts on the file, not the weights themselves.
    Without ``out`` it is below ``runs``, named after the file and a hash of weights and configuration.

    Raises:
        RunFolderError: the folder holds another run, or cannot be made.
    """
    text = to_yaml(session.config)
    digest = fingerprint(session.model)
    if out is None:
        suffix = hashlib.sha256(f"{digest} {text}".encode()).hexdigest()[:8]
        out = Path("runs") / f"{for_file(weights.stem)}-{suffix}"
    if layout.is_run(out):
        info = json.loads(layout.info_path(out).read_text(encoding="utf-8"))
        same = info.get("weights", {}).get("fingerprint") == digest
        if not same or identity.run(load_config(layout.config_path(out))) != identity.run(session.config):
            raise RunFolderError(f"{out}: holds another run, or these weights configured otherwise; give another --out")
        if not layout.samples_path(out).is_file():  # where a kill came before they were written
            save_samples(out, session.data)
        return out
    layout.check_writable(out.parent)
    info = {
        **describe(session, layout.IMPORTED),
        "weights": {"file": weights.name, "fingerprint": digest, "read_as": session.weights_note},
        "decay_epochs": [],
    }
    RunWriter.create(out, text, info).close()
    save_samples(out, session.data)
    return out
