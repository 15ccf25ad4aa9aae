"""Attack every sample of a subset and keep each outcome; an interrupted evaluation is resumed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from overfit_lab.data.streamed import StreamedImages
from overfit_lab.errors import ProbeError
from overfit_lab.evaluation.attackers import Attacker
from overfit_lab.evaluation.outcome import ROBUST, WRONG, Outcome, load_outcome
from overfit_lab.methods.attacks.gradient import counting_not_finite
from overfit_lab.models.isolation import isolated
from overfit_lab.probes.snapshot import Snapshot
from overfit_lab.training.subjects import fingerprint
from overfit_lab.types import Images, to_float

OnProgress = Callable[[float, str], None]
"""Called with the share of the work done, in [0, 1], and a few words."""
DIGEST_CHUNK = 256
SAVE_EVERY = 2.0
"""Seconds between writes of an incomplete outcome; an interruption writes at once."""


@dataclass(frozen=True)
class Samples:
    """The samples of an evaluation, their positions in the split and labels (n,); streamed ones are decoded in turn."""

    split: str
    index: Tensor
    x: Images
    y: Tensor


def take_samples(snapshot: Snapshot, split: str = "test", n: int | None = None) -> Samples:
    """The first ``n`` of a split's fixed probe order (all for None or a larger n), which is shuffled.

    Raises:
        ProbeError: the split is absent or empty.
    """
    snapshot.check_view(split, "clean")
    part = snapshot.data.splits[split]
    index = part.order[: len(part) if n is None else n]
    x = part.x.select(index) if isinstance(part.x, StreamedImages) else part.x[index]
    return Samples(split, index, x, part.y[index])


def evaluate(
    snapshot: Snapshot,
    attacker: Attacker,
    *,
    split: str = "test",
    n: int | None = None,
    batch_size: int = 256,
    partial: Path | None = None,
    on_progress: OnProgress | None = None,
) -> Outcome:
    """Run an attack; batch norm is in eval mode and the model is as before on leaving.

    Each stage attacks, in batches, the samples that the earlier ones left right. The outcome of every batch is kept, so
    that an interrupted evaluation resumes after its last complete batch and ends as an uninterrupted one does.
    It is kept in the file ``partial``. ``n`` samples of the split's fixed order are attacked (None: all),
    ``batch_size`` at a time, on which the random draws depend; ``on_progress`` is called also within a batch.

    Raises:
        ProbeError: the split is absent or empty.
        RunFolderError: ``partial`` is damaged.

    Cost: a forward pass, and for each sample that is right that of the stages which it meets.
    """
    samples = take_samples(snapshot, split, n)
    with isolated(snapshot.model), torch.no_grad():
        settings = _settings(snapshot, attacker, samples, batch_size)
        outcome = _reopen(partial, settings)
        if outcome is None:
            outcome = _begin(snapshot, attacker, samples, settings, batch_size)
        return _resume(snapshot, attacker, samples, outcome, batch_size, partial, on_progress or (lambda *_: None))


def evaluation_settings(
    snapshot: Snapshot, attacker: Attacker, split: str = "test", n: int | None = None, batch_size: int = 256
) -> dict[str, Any]:
    """The settings that determine an evaluation's outcome."""
    return _settings(snapshot, attacker, take_samples(snapshot, split, n), batch_size)


def _settings(snapshot: Snapshot, attacker: Attacker, samples: Samples, batch_size: int) -> dict[str, Any]:
    digest = hashlib.sha256()
    for images in samples.x.split(DIGEST_CHUNK):
        digest.update(images.cpu().numpy().tobytes())
    digest.update(samples.y.cpu().numpy().tobytes())
    return {
        **attacker.settings,
        "label": attacker.label,
        "split": samples.split,
        "n": len(samples.y),
        "samples": digest.hexdigest()[:16],
        "model": fingerprint(snapshot.model),
        "epoch": snapshot.epoch,
        "weights": snapshot.weights,
        "seed": snapshot.seed,
        "batch_size": batch_size,
    }


def _reopen(partial: Path | None, settings: dict[str, Any]) -> Outcome | None:
    """The incomplete outcome of an earlier attempt at the same evaluation, if any."""
    if partial is None or not partial.is_file():
        return None
    outcome = load_outcome(partial)
    same = json.dumps(outcome.settings, sort_keys=True) == json.dumps(settings, sort_keys=True)
    return outcome if same else None


def _begin(
    snapshot: Snapshot, attacker: Attacker, samples: Samples, settings: dict[str, Any], batch_size: int
) -> Outcome:
    logits = torch.cat(
        [snapshot.model(to_float(x)).float() for x in samples.x.split(batch_size)]
        if len(samples.x)
        else [torch.empty(0, snapshot.n_classes)]
    )
    if not logits.isfinite().all():
        raise ProbeError("the model gives logits that are not finite on clean images; were the weights loaded whole?")
    predicted = logits.argmax(dim=1)
    right = (predicted == samples.y).cpu().numpy()
    sources = snapshot.data.splits[samples.split].sources
    return Outcome(
        label=attacker.label,
        index=samples.index.cpu().numpy(),
        y=samples.y.cpu().numpy(),
        clean_prediction=predicted.cpu().numpy(),
        prediction=predicted.cpu().numpy().copy(),
        broken_by=np.where(right, ROBUST, WRONG).astype(np.int16),
        logits=logits.cpu().numpy(),
        members=right.copy(),
        stages=tuple(stage.name for stage in attacker.stages),
        settings=settings,
        source=None if sources is None else sources.names(samples.index),
    )


def _resume(
    snapshot: Snapshot,
    attacker: Attacker,
    samples: Samples,
    outcome: Outcome,
    batch_size: int,
    partial: Path | None,
    on_progress: OnProgress,
) -> Outcome:
    started, saved = time.monotonic() - outcome.seconds, time.monotonic()
    outcome = outcome.with_arrays()
    try:
        while not outcome.complete:
            members = np.flatnonzero(outcome.members)
            batch = members[outcome.done : outcome.done + batch_size]
            not_finite = outcome.not_finite
            if len(batch):
                with _Counted(snapshot, attacker, outcome, len(batch), on_progress):
                    not_finite += _attack(snapshot, attacker, samples, outcome, batch, outcome.done // batch_size)
            done = outcome.done + len(batch)
            outcome = replace(outcome, done=done, not_finite=not_finite, seconds=time.monotonic() - started)
            if done >= len(members):
                outcome = replace(outcome, stage=outcome.stage + 1, done=0, members=outcome.robust.copy())
            if partial is not None and time.monotonic() - saved > SAVE_EVERY:
                outcome.save(partial)
                saved = time.monotonic()
    except BaseException:
        if partial is not None:
            outcome.save(partial)
        raise
    on_progress(1.0, _standing(outcome))
    return outcome


def _attack(
    snapshot: Snapshot, attacker: Attacker, samples: Samples, outcome: Outcome, batch: np.ndarray, number: int
) -> int:
    """Attack one batch in the outcome's stage and write the outcome's arrays, all at once.

    Returns:
        The number of gradients that were not finite.
    """
    index = torch.from_numpy(batch).to(samples.y.device)
    x, y = to_float(samples.x[index]), samples.y[index]
    stage = attacker.stages[outcome.stage]
    generator = snapshot.generator("evaluate", attacker.label, samples.split, outcome.stage, number)
    with counting_not_finite() as not_finite:
        x_adv = stage.attack(snapshot.model, x, stage.loss(y), generator=generator)
    logits = snapshot.model(x_adv).float()
    predicted = logits.argmax(dim=1)
    fooled = (predicted != y).cpu().numpy()
    outcome.logits[batch] = logits.cpu().numpy()
    outcome.prediction[batch] = predicted.cpu().numpy()
    outcome.broken_by[batch[fooled]] = outcome.stage
    return not_finite.count


class _Counted:
    """Counts the model's calls within a batch, to report progress."""

    def __init__(
        self, snapshot: Snapshot, attacker: Attacker, outcome: Outcome, size: int, on_progress: OnProgress
    ) -> None:
        self.outcome, self.size, self.on_progress = outcome, size, on_progress
        self.model = snapshot.model
        self.weights = [stage.n_calls for stage in attacker.stages]
        self.calls = 0

    def __enter__(self) -> None:
        self.handle = self.model.register_forward_pre_hook(self._called)
        self._tell(0.0)

    def __exit__(self, *_: object) -> None:
        self.handle.remove()

    def _called(self, *_: object) -> None:
        self.calls += 1
        expected = self.weights[self.outcome.stage]
        if self.calls % max(1, expected // 50) == 0:
            self._tell(min(1.0, self.calls / expected))

    def _tell(self, share: float) -> None:
        """Report progress; later stages are assumed to attack all samples that are still right."""
        outcome, stage = self.outcome, self.outcome.stage
        alive, members = int(outcome.robust.sum()), int(outcome.members.sum())
        ahead = self.weights[stage] * members + sum(self.weights[stage + 1 :]) * alive
        behind = sum(self.weights[:stage]) * members
        done = self.weights[stage] * (outcome.done + share * self.size)
        total = behind + ahead
        self.on_progress(min(0.999, (behind + done) / total) if total else 0.0, _standing(outcome))


def _standing(outcome: Outcome) -> str:
    """The state of an evaluation in a few words."""
    right = f"{outcome.robust_accuracy:.1%} right"
    if outcome.complete:
        return right
    return f"{outcome.stages[outcome.stage]}, {right}" if len(outcome.stages) > 1 else right
