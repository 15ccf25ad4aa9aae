"""Probes for anybody's training loop: three lines in a plain PyTorch loop, no trainer of ours."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from torch import Tensor, nn

from overfit_lab.attacks.base import Attack
from overfit_lab.build import make_probes
from overfit_lab.catalog import ATTACKS
from overfit_lab.config import EvaluationConfig, Part, ProbesConfig, RunConfig, to_yaml
from overfit_lab.data.dataset import dataset_from_arrays
from overfit_lab.environment import hardware, now, versions
from overfit_lab.errors import ProbeError
from overfit_lab.priors.base import PriorStore
from overfit_lab.probes.live import LiveProbes
from overfit_lab.runs.history import MemoryHistory
from overfit_lab.runs.recorder import EVALUATION_FIELDS, Recorder, to_records
from overfit_lab.runs.records import Record
from overfit_lab.runs.writer import RunWriter
from overfit_lab.snapshot import Snapshot
from overfit_lab.training.evaluation import evaluate
from overfit_lab.training.events import EpochEnded, EventBus, GradientsReady, RunEnded, RunStarted
from overfit_lab.training.information import InformationTally
from overfit_lab.training.tally import Tally
from overfit_lab.types import Clock, Measurement, Value

E_ = TypeVar("E_")
Arrays = tuple[Any, Any]


class Monitor:
    """Evaluates and probes a model while somebody else trains it.

    Nothing of the model changes: modes, gradients, buffers and random streams are as before after every call.

    Args:
        model: maps images in [0, 1] to logits. Its parameters now are theta_0, the reference of ``iiw``.
        train: images and labels, uint8 (N, C, H, W) and integers (N,), as numpy arrays or tensors.
        test: the same for the test split.
        val: the same for a validation split.
        probes: names of metrics; ``overfit-lab list metrics`` shows them.
        attack: attack for adversarial inputs; None measures clean inputs alone.
        every: epochs between measurements.
        n: samples of each split that are looked at; None is each probe's own choice.
        n_epochs: length of the run, where known; the features probe draws its t-SNE map at the last epoch.
        penultimate: name of the last linear layer, for the features probe.
        batch_size: the loop's batch size, for per-mini-batch readings.
        seed: seed of the probe subset and of every random draw here.
        folder: a run folder to write to, readable by the figures; None keeps the records in memory alone.
        options: a probe's own options by its name.

    Raises:
        ConfigError: an unknown metric, or arrays that do not fit together.
        RunFolderError: the folder is occupied.
    """

    def __init__(
        self,
        model: nn.Module,
        train: Arrays,
        test: Arrays | None = None,
        val: Arrays | None = None,
        *,
        probes: Sequence[str] = ("gradient-norm", "iiw", "calibration", "confidence"),
        attack: Attack | None = None,
        every: int = 1,
        n: int | None = None,
        n_epochs: int | None = None,
        penultimate: str | None = None,
        batch_size: int = 128,
        seed: int = 0,
        folder: str | Path | None = None,
        options: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        parameter = next(model.parameters(), None)
        if parameter is None:
            raise ProbeError("the model has no parameters, so there is nothing to monitor")
        self.model = model
        self.attack = attack
        self.penultimate = penultimate if penultimate is not None else getattr(model, "penultimate", None)
        settings = ProbesConfig(every=every, metrics=tuple(probes), n=n, options=options or {})
        name = f"{type(model).__module__}:{type(model).__qualname__}"
        evaluation = EvaluationConfig(every=every, n_train=n or 1000, n_test=n, n_val=n)
        self._config = RunConfig(
            name="monitor",
            seed=seed,
            epochs=n_epochs or 1,
            batch_size=batch_size,
            model=Part(name=name),
            probes=settings,
            evaluation=evaluation,
        )
        live = make_probes(settings)
        self.data = dataset_from_arrays(train, test, val, seed=seed, device=parameter.device)
        self.reference: dict[str, Tensor] = {name: p.detach().clone() for name, p in model.named_parameters()}
        self._priors = PriorStore()
        self._started = False
        self._records: list[Record] = []
        self._arrays: dict[str, tuple[int, dict[str, np.ndarray]]] = {}
        self._tally = Tally(parameter.device)
        self._information = InformationTally(self.reference)
        self._clock = Clock(epoch=0, step=0, n_epochs=n_epochs or 0)
        for probe in live:
            probe.check(self.snapshot())
        self._recorder = self._open(folder, model) if folder is not None else None
        self._bus = EventBus()
        self._bus.on(EpochEnded, self._keep)
        LiveProbes(live, every, self._keep_measurement).subscribe(self._bus)

    def on(self, event_type: type[E_], handler: Callable[[E_], None]) -> None:
        """Subscribe to an event: :class:`GradientsReady`, :class:`EpochEnded`, :class:`RunEnded`."""
        self._bus.on(event_type, handler)

    def gradients_ready(self, loss: Tensor | None = None, n: int | None = None) -> None:
        """Call after ``loss.backward()``: the free readings of the gradient norm and of IIW.

        Args:
            loss: the mini-batch loss, recorded too where given.
            n: samples in the batch; default the batch size.
        """
        if not self._started:
            self._started = True
            self._bus.emit(RunStarted(self.snapshot()))
        value = loss.detach() if loss is not None else next(self.model.parameters()).new_tensor(float("nan"))
        self._tally.add(value, self.model, n or self._config.batch_size)
        self._information.add(self.model, n or self._config.batch_size)
        self._bus.emit(GradientsReady(self.model, self._clock))
        self._clock = replace(self._clock, step=self._clock.step + 1)

    def epoch_ended(self, epoch: int | None = None, *, is_last: bool = False, **values: float) -> None:
        """Call at the end of an epoch: evaluates, probes and records.

        Args:
            epoch: epochs completed, counted from 1; default one more than at the last call.
            is_last: whether training ends here (the features probe then draws its map).
            **values: numbers of your own to record with this epoch, such as ``lr=0.1``.
        """
        epoch = epoch if epoch is not None else self._clock.epoch + 1
        n_epochs = epoch if is_last else self._clock.n_epochs
        self._clock = replace(self._clock, epoch=epoch, n_epochs=n_epochs, progress=float(epoch))
        snapshot = self.snapshot()
        measured = [value for value in self._tally.values() if value.value == value.value]
        measured += self._information.values(len(self.data.splits["train"]))
        measured += [Value(name, float(value)) for name, value in values.items()]
        if is_last or epoch % self._config.evaluation.every == 0:
            measured += evaluate(snapshot, self._config.evaluation)
        self._tally, self._information = Tally(snapshot.device), InformationTally(self.reference)
        self._bus.emit(EpochEnded(snapshot, measured, is_last))

    def close(self) -> None:
        """Training is over: the run folder, where there is one, says so."""
        self._bus.emit(RunEnded("completed", self._clock))
        if self._recorder is not None:
            self._recorder.writer.update_info(status="completed", ended=now(), epoch=self._clock.epoch)
            self._recorder.writer.close()
            self._recorder = None

    def snapshot(self) -> Snapshot:
        """The model as it stands, for a probe of your own."""
        return Snapshot(
            self.model,
            self.data,
            clock=self._clock,
            seed=self._config.seed,
            attack=self.attack,
            black_box=self._black_box(),
            reference=self.reference,
            penultimate=self.penultimate,
            chunk=self._config.evaluation.chunk,
            batch_size=self._config.batch_size,
            priors=self._priors,
            history=MemoryHistory(self._clock.epoch, self._records, self._arrays),
        )

    def _black_box(self) -> Attack | None:
        """Square in the attack's threat model; None where that has other pixel bounds, which Square does not know."""
        if self.attack is None or (self.attack.threat.low, self.attack.threat.high) != (0, 1):
            return None
        square: Attack = ATTACKS["square"](self.attack.threat)
        return square

    @property
    def records(self) -> pd.DataFrame:
        """What was measured so far: one row a number, columns as in a run folder's records."""
        return pd.DataFrame([vars(record) for record in self._records])

    def _keep(self, event: EpochEnded) -> None:
        clock = event.snapshot.clock
        groups = itertools.groupby(event.values, key=lambda v: v.field in EVALUATION_FIELDS)
        for is_evaluation, group in groups:
            name = "evaluation" if is_evaluation else "training"
            self._records += to_records(name, list(group), clock, None)
        if self._recorder is not None:
            self._recorder.training(event.values, clock)

    def _keep_measurement(self, probe: str, measurement: Measurement, clock: Clock, seconds: float) -> None:
        self._records += to_records(probe, measurement.values, clock, seconds)
        if measurement.arrays:
            self._arrays[probe] = (clock.epoch, measurement.arrays)
        if self._recorder is not None:
            self._recorder.measurement(probe, measurement, clock, seconds)

    def _open(self, folder: str | Path, model: nn.Module) -> Recorder:
        device = next(model.parameters()).device
        info = {
            "name": "monitor",
            "status": "running",
            "seed": self._config.seed,
            "started": now(),
            "versions": versions(),
            "device": device.type,
            "hardware": hardware(device),
            "n_parameters": sum(p.numel() for p in model.parameters()),
            "data": {"name": "arrays", "sizes": {name: len(part) for name, part in self.data.splits.items()}},
        }
        return Recorder(RunWriter.create(Path(folder), to_yaml(self._config), info))
