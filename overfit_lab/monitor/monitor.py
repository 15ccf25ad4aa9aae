"""Probes for anybody's training loop: three lines in a plain PyTorch loop, no trainer of ours."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from math import isfinite
from numbers import Integral
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from overfit_lab.config import (
    AttackConfig,
    DataConfig,
    EvaluationConfig,
    MonitoredConfig,
    Part,
    ProbesConfig,
    RunConfig,
    load_config,
    to_dict,
    to_yaml,
)
from overfit_lab.config.catalog import ATTACKS
from overfit_lab.config.schema import DynamicsConfig
from overfit_lab.data.arrays import channel_statistics
from overfit_lab.data.user_data import by_split, dataset_from_sources, describe_splits, has_true_labels, with_classes
from overfit_lab.errors import ConfigError, ProbeError, RunFolderError
from overfit_lab.files.terminal import to_stderr
from overfit_lab.methods.attacks.base import Attack
from overfit_lab.methods.attacks.pgd import PGD
from overfit_lab.models.adapt import Adapter, count_logits, unwrapped
from overfit_lab.models.fitness import not_finite_weights
from overfit_lab.models.normalize import Normalize
from overfit_lab.monitor.samples import Samples
from overfit_lab.monitor.steps import Steps
from overfit_lab.probes.base import Failure, Probe, attempt, dry_run
from overfit_lab.probes.priors.store import PriorStore
from overfit_lab.probes.snapshot import Snapshot
from overfit_lab.records import identity, layout
from overfit_lab.records.changes import change_settings
from overfit_lab.records.dynamics import SampleDynamics
from overfit_lab.records.environment import hardware, now, versions
from overfit_lab.records.failures import Failures
from overfit_lab.records.history import MemoryHistory
from overfit_lab.records.reader import to_frame
from overfit_lab.records.recorder import MemoryWriter, Recorder
from overfit_lab.records.records import Record
from overfit_lab.records.sinks.base import Beginning, Sink
from overfit_lab.records.sinks.mirror import Mirror, make_sinks, open_mirror, run_id
from overfit_lab.records.status import DIVERGED, begin, end, running
from overfit_lab.records.writer import RunWriter
from overfit_lab.training.divergence import first_not_finite
from overfit_lab.training.doubts import say_doubt
from overfit_lab.training.evaluation import accuracy_and_loss, evaluated, try_to_evaluate
from overfit_lab.training.events import EpochEnded, EventBus, GradientsReady, RunEnded, RunStarted
from overfit_lab.training.live import LiveProbes
from overfit_lab.training.parts import make_probes
from overfit_lab.training.subjects import save_samples
from overfit_lab.types import Clock, Dataset, Value, to_float

E_ = TypeVar("E_")
KEPT = 1000
"""Samples of a data set's split that are kept where ``n`` does not say."""
ON_TRAIN, ON_TEST = ("gradient-norm", "iiw"), ("calibration", "confidence")
"""Probes by default, by the split that they look at."""
LENGTHS = ("epochs", "n_epochs", "num_epochs", "max_epochs", "num_train_epochs")
"""What loops call their length among their settings."""
GIVEN = "arrays"
"""What data that the user gave are called in the configuration; older folders have the name of a default there."""


class Monitor:
    """Evaluates and probes a model while somebody else trains it.

    Nothing of the model changes: modes, gradients, buffers, hooks and random streams are as before after every call.
    A model that is compiled or wrapped for several devices is looked at unwrapped.

    Args:
        model: maps images in [0, 1] to logits. Its parameters now are theta_0, the reference of ``iiw``.
        data: the training split, or a mapping with ``train`` and, where there are, ``test`` and ``val``. A split is a
            pair of arrays, images (N, C, H, W) in uint8 or floats in [0, 1] and integer labels (N,), which is copied;
            or a torch data set, or a data loader for its data set, of which a fixed, seeded part is read and kept, see
            :attr:`kept`; or a split of :func:`overfit_lab.data.dataset.load_dataset`.
            Transforms are applied once, on reading; give data without augmentation.
        train: the training split, where ``data`` is not given.
        y_true: the training samples' labels before noise was put on them, in the order of the split, which memorisation
            is measured by; or the third part of its arrays. What differs from the split's labels counts as corrupted.
        probes: names of metrics; ``overfit-lab list metrics`` shows them. Default: gradient-norm and iiw, and with a
            test split calibration and confidence, and with ``y_true`` memorisation.
        attack: attack for adversarial inputs; None measures clean inputs alone.
        n: samples of each split that are looked at; None is each probe's own choice, and 1000 of a data set.
        n_epochs: length of the run, where known; the features probe draws its t-SNE map at the last epoch.
        name: names the run.
        method: how the loop trains, in your words: ``"PGD-AT + LS"``. Runs of one method and ``config`` with other
            seeds are seeds of one experiment; runs that say neither cannot be told apart, and are never averaged.
        seed: of the training, where known; the draws of probes depend on it too, and are those of 0 without it.
        config: settings of the loop, such as ``vars(args)``: what runs of one method may differ in. ``seed`` in it is
            the seed.
        tags: words to find the run by.
        batch_size: samples of a training batch, where known, for readings that are per mini-batch; without it the
            gradient norm has no ``minibatch``.
        penultimate: name of the last linear layer, for the features probe.
        folder: a run folder to write to, readable by the figures; None keeps the records in memory alone.
        normalize: mean and standard deviation of each channel, where the loop normalises images before they reach the
            model; probes then do as well.
        adapter: how to call a model that does not map images to logits itself.
        resume: go on with the run folder where there is one; call :meth:`load_state_dict` next. ``n_epochs`` may be
            another then, and a length that ``config`` says a larger one.
        sinks: get every record too: names such as ``"tensorboard"``, ``package.module:Class``, or objects. One that
            fails is left alone, with a line on stderr, and neither the model nor the records depend on it.
        strict: let errors of a measurement go on to the loop. Otherwise none ends training: what fails is recorded as
            ``failed``, said once on stderr, and in :attr:`failed`.
        dynamics: what is kept of the batches that :meth:`batch` is given: ``full``, ``compact``, ``running``, ``none``
            or ``auto``, see docs/dynamics.md.

    Raises:
        ConfigError: an unknown metric or sink, or data that do not fit together or are normalised.
        MissingPackageError: a sink's package is not installed.
        ProbeError: the model does not give logits for the images, or a dry run of a probe on a few samples fails.
        RunFolderError: the folder is occupied, or with ``resume`` of another configuration. One to which no epoch was
            ever written is free.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Any = None,
        test: Any = None,
        val: Any = None,
        *,
        train: Any = None,
        y_true: Any = None,
        probes: Sequence[str] | None = None,
        attack: Attack | None = None,
        every: int = 1,
        n: int | None = None,
        n_epochs: int | None = None,
        penultimate: str | None = None,
        batch_size: int | None = None,
        name: str | None = None,
        method: str | None = None,
        seed: int | None = None,
        config: Mapping[str, Any] | None = None,
        tags: Sequence[str] = (),
        folder: str | Path | None = None,
        options: dict[str, dict[str, Any]] | None = None,
        normalize: tuple[Sequence[float], Sequence[float]] | None = None,
        adapter: Adapter | None = None,
        resume: bool = False,
        sinks: Sequence[str | Sink] = (),
        strict: bool = False,
        dynamics: str = "auto",
    ) -> None:
        parameter = _first_parameter(model)
        if data is not None and train is not None:
            raise ConfigError("data: the training split is given twice, as data and as train")
        self.model = model = unwrapped(model)
        self.attack = attack
        self._strict = strict
        self.penultimate = penultimate if penultimate is not None else getattr(model, "penultimate", None)
        parts = by_split(data if data is not None else train, test, val)
        self._knows_noise = y_true is not None or has_true_labels(parts["train"])
        if probes is None:
            noisy = ("memorisation",) if self._knows_noise else ()
            probes = (*ON_TRAIN, *(ON_TEST if "test" in parts else ()), *noisy)
        settings = ProbesConfig(every=every, metrics=tuple(probes), n=n, options=options or {})
        lengths = {"epochs": n_epochs or None, "batch_size": batch_size}
        self._config = _configuration(
            model,
            attack,
            settings,
            lengths,
            seed=seed,
            name=name,
            method=method,
            config=config,
            tags=tags,
            dynamics=dynamics,
        )
        live = make_probes(settings)
        keep = max([n or KEPT, *(probe.options.n for probe in live)])
        self.adapter = adapter if adapter is not None else Adapter()
        self.data = self._read(parts, keep, normalize, parameter.device, y_true)
        self._config = self._with_data()
        self.reference: dict[str, Tensor] = {name: p.detach().clone() for name, p in model.named_parameters()}
        self._priors = PriorStore()
        self._started = self._closed = False
        self._memory = MemoryWriter()
        self._batch_size = batch_size
        self._steps = self._no_steps()
        self._samples = Samples(self.data.splits["train"].size, parameter.device, dynamics, n_epochs or 0)
        self._clock = Clock(epoch=0, step=0, n_epochs=n_epochs or 0)
        self._last: int | None = None
        self._divergence: dict[str, int] | None = None
        with self.adapted():
            self._check(live)
        chosen = make_sinks(sinks)
        self._folder = Path(folder) if folder is not None else None
        self._writer = self._open(self._folder, model, resume) if self._folder is not None else None
        with self.adapted():
            say_doubt(self.snapshot(), writer=self._writer)
        self._recorder = Recorder(self._memory, *([self._writer] if self._writer is not None else []))
        self._failures = Failures(self._recorder, self._writer)
        self._mirror = self._mirrored(chosen)
        self._bus = EventBus()
        self._bus.on(EpochEnded, lambda event: self._recorder.training(event.values, event.snapshot.clock))
        on_failure = None if strict else self._failures
        LiveProbes(live, every, self._recorder.measurement, on_failure).subscribe(self._bus)

    def _check(self, probes: Sequence[Probe]) -> None:
        """Refuse now what cannot be measured later."""
        snapshot = self.snapshot()
        for probe in probes:
            probe.check(snapshot)
        try_to_evaluate(snapshot, self._config.evaluation)
        for probe in probes:
            dry_run(probe, snapshot)

    def _read(
        self,
        parts: Mapping[str, Any],
        keep: int,
        normalize: tuple[Sequence[float], Sequence[float]] | None,
        device: torch.device,
        y_true: Any,
    ) -> Dataset:
        """The data, with as many classes as the model gives logits."""
        data = dataset_from_sources(parts, keep=keep, seed=self._config.seed, device=device, y_true=y_true)
        image = data.splits["train"].x[:1]
        if normalize is not None:
            constants = channel_statistics(*normalize, image.shape[1])
            self.adapter = replace(self.adapter, normalize=Normalize(*constants).to(device))
        with self.adapted():
            n_classes = count_logits(self.model, to_float(image))
        return with_classes(data, n_classes)

    def _with_data(self) -> RunConfig:
        """The configuration with what tells data and network from others of the same name."""
        data, image = self.data, self.data.splits["train"].x
        sizes = {name: part.size for name, part in data.splits.items()}
        shape = {"n_classes": data.n_classes, "image": list(image.shape[1:])}
        n_parameters = {"n_parameters": sum(p.numel() for p in self.model.parameters())}
        monitored = self._config.monitored.model_copy(update={"data": {**sizes, **shape, **n_parameters}})
        return self._config.model_copy(update={"monitored": monitored})

    def adapted(self) -> AbstractContextManager[None]:
        """Inside, the model maps images in [0, 1] to logits; for a probe of your own on :meth:`snapshot`."""
        return self.adapter.applied(self.model)

    @property
    def failed(self) -> Mapping[str, str]:
        """What could not be measured, and why it could not the first time."""
        return self._failures.reasons

    @property
    def kept(self) -> dict[str, str]:
        """What is kept of each split and what that takes, such as ``1000 of 50000 samples, 3.1 MB``."""
        return describe_splits(self.data)

    def on(self, event_type: type[E_], handler: Callable[[E_], None]) -> None:
        """Subscribe to an event: :class:`GradientsReady`, :class:`EpochEnded`, :class:`RunEnded`."""
        self._bus.on(event_type, handler)

    def gradients_ready(
        self,
        loss: Tensor | float | None = None,
        n: int | None = None,
        *,
        clipped: bool = False,
        step: Hashable = None,
        optimizer: Any = None,
        scaler: Any = None,
    ) -> None:
        """Call after ``loss.backward()``: the free readings of the gradient norm and of IIW.

        Once a step, before the optimiser's, when gradients of all accumulated batches are in and a gradient scaler's
        factor is out (``scaler.unscale_``). Where no parameter has a gradient it is no step, and nothing is recorded.

        Args:
            loss: the mini-batch loss, recorded too where given: its mean, or the losses of the samples.
            n: samples in the batch, 0 where it is not known; default the number of losses, where there are several,
                and else the batch size that the monitor was given.
            clipped: the gradients are clipped already; the reading is called ``grad_norm_minibatch-clipped`` then.
            step: what the calls of one step have in common, such as its number: of each optimiser the first counts,
                as with LBFGS, whose closure is called many times, and those of several optimisers are put together.
                Without it each call is a step.
            optimizer: whose parameters are read; None: all of the model's.
            scaler: a ``torch.amp.GradScaler``: a step that it passes over, since gradients overflow, is no step.
        """
        if not self._started:
            self._started = True
            self._bus.emit(RunStarted(self.snapshot()))
        parameters = self._parameters_of(optimizer)
        if all(p.grad is None for p in parameters.values()):
            return
        begins = self._steps.begin(step, optimizer)
        if begins is None:
            return
        if loss is not None:
            self.loss_known(loss, n)
        n = self._n_samples(n, loss)
        if not self._steps.failure:
            skippable = scaler is not None and scaler.is_enabled()
            add = partial(self._steps.add, parameters, n, clipped=clipped, skippable=skippable)
            if isinstance(failed := attempt(add, tolerant=not self._strict), Failure):
                self._steps.failure = failed.reason
        self._bus.emit(GradientsReady(self.model, self._clock))
        if begins:
            self._clock = replace(self._clock, step=self._clock.step + 1)

    def _parameters_of(self, optimizer: Any) -> dict[str, nn.Parameter]:
        """The model's parameters by name that an optimiser moves; all of them for None."""
        parameters = dict(self.model.named_parameters())
        if optimizer is None:
            return parameters
        moved = {id(p) for group in optimizer.param_groups for p in group["params"]}
        return {name: p for name, p in parameters.items() if id(p) in moved}

    def loss_known(self, loss: Tensor | float, n: int | None = None) -> None:
        """The mini-batch loss, where it is known at another moment than the gradients.

        Args:
            loss: mean over the batch, or the losses of its samples.
            n: samples in the batch, 0 where it is not known; default the number of losses, where there are several,
                and else the batch size that the monitor was given.
        """
        n = self._n_samples(n, loss)
        losses = torch.as_tensor(loss).detach()
        if losses.numel():
            self._steps.add_loss(losses.mean(dtype=torch.promote_types(losses.dtype, torch.float32)), n)

    def batch(self, index: Any, logits: Tensor, y: Any, *, inputs: str | None = None) -> None:
        """Call in each step with the logits that training computes anyway: what they say of each sample is kept.

        Nothing is computed by the model, and nothing waits for the device. See docs/dynamics.md and :attr:`dynamics`.

        Args:
            index: positions of the samples in the training split, as it was given to the monitor (b,).
            logits: the model's (b, K).
            y: given labels (b,), whole numbers.
            inputs: ``adversarial`` or ``clean``: what the logits are of; call once for each where there are both.
                Default: adversarial where the monitor was given an attack, else clean.
        """
        view = inputs if inputs is not None else "adversarial" if self.attack is not None else "clean"
        failed = attempt(partial(self._samples.add, index, logits, y, view), tolerant=not self._strict)
        if isinstance(failed, Failure):
            self._failures("dynamics", failed.reason, self._clock)

    @property
    def dynamics(self) -> Mapping[str, SampleDynamics]:
        """What :meth:`batch` gathered, by view, up to the last epoch's end; without a folder statistics alone."""
        return self._samples.found(self._folder)

    def _end_samples(self, epoch: int) -> None:
        """Close the epoch of the dynamics."""
        folder = self._writer.folder if self._writer is not None else None
        n_passed_over = self._samples.end_epoch(epoch, folder)
        if n_passed_over:
            self._failures("dynamics", f"{n_passed_over} rows of batches {PASSED_OVER}", self._clock)

    def _n_samples(self, n: int | None, loss: Tensor | float | None) -> int | None:
        """Samples of a batch, as they are said, by the number of losses or by the batch size; None: not known."""
        if n is None:
            n = loss.numel() if isinstance(loss, Tensor) and loss.numel() > 1 else self._batch_size
        return n or None

    def epoch_ended(self, epoch: int | None = None, *, is_last: bool = False, **values: float) -> None:
        """Call at the end of an epoch: evaluates, probes and records.

        Where there are no epochs, call it every so many steps; an epoch is then what lies between two calls.

        Args:
            epoch: epochs completed, later than that of the last call; default one more.
            is_last: whether training ends here (the features probe then draws its map).
            **values: numbers of your own to record with this epoch, such as ``lr=0.1``.
        """
        wrong = self._wrong_epoch(epoch)
        if wrong:
            if self._strict:
                raise ProbeError(wrong)
            to_stderr(wrong)
            return
        self._check_folder()
        if self._mirror is not None and not self._mirror.begun:
            self._mirror.begin(self._memory.records, self._clock.epoch)
        if self._writer is not None and self._last is None:
            change_settings(self._writer, self._config, self._clock.epoch)
        n_before = len(self._memory.records)
        epoch = int(epoch) if epoch is not None else self._clock.epoch + 1
        n_epochs = epoch if is_last else self._clock.n_epochs
        self._look_for_divergence(epoch)
        steps, self._steps = self._steps, self._no_steps()
        measured, n_skipped = steps.values(self.data.splits["train"].size)
        self._clock = Clock(epoch, self._clock.step - n_skipped, n_epochs, float(epoch))
        self._last = epoch
        if steps.failure:
            self._failures("training", steps.failure, self._clock)
        measured += self._numbers_of(values)
        self._end_samples(epoch)
        snapshot = self.snapshot()
        with self.adapted():
            if is_last or epoch % self._config.evaluation.every == 0:
                measured += self._evaluate(snapshot)
            self._bus.emit(EpochEnded(snapshot, measured, is_last))
        if self._mirror is not None:
            self._mirror.take(self._memory.records[n_before:])
            self._mirror.epoch_ended(epoch)

    def _look_for_divergence(self, epoch: int) -> None:
        """Note whether the weights are finite, and if they are not since when; they may be so again."""
        before, self._divergence = self._divergence, None
        if not_finite_weights(self.model):
            index = first_not_finite(self._steps.losses)
            step = self._clock.step - (0 if index is None else len(self._steps.losses) - index - 1)
            self._divergence = before or {"step": step, "epoch": epoch}
        if self._writer is not None and self._divergence != before:
            self._writer.update_info(**{DIVERGED: self._divergence})
        if self._divergence and not before:
            to_stderr(f"epoch {epoch}: the weights are not finite since step {self._divergence['step']}")

    def _numbers_of(self, values: Mapping[str, Any]) -> list[Value]:
        """Numbers of the user's own; what is none is said and left out."""
        numbers = []
        for name, value in values.items():
            number = attempt(partial(float, value), tolerant=not self._strict)
            if isinstance(number, Failure):
                to_stderr(f"epoch_ended({name}={value!r}): is not recorded, expected a number")
            else:
                numbers.append(Value(name, number))
        return numbers

    def _wrong_epoch(self, epoch: Any) -> str:
        """In one line why an epoch cannot have ended now; nothing where it can."""
        if epoch is None:
            return ""
        if not isinstance(epoch, Integral) or epoch < 0:
            return f"epoch_ended({epoch!r}): expected completed epochs, a whole number"
        if self._last is not None and epoch <= self._last:
            return (
                f"epoch_ended({epoch}): epoch {self._last} was measured already, so nothing is recorded; "
                f"expected {self._last + 1} or later"
            )
        return ""

    def _no_steps(self) -> Steps:
        return Steps(self.reference, next(self.model.parameters()).device)

    def _evaluate(self, snapshot: Snapshot) -> list[Value]:
        """Accuracies on every kind of inputs that they can be had on."""
        values: list[Value] = []
        for view in evaluated(snapshot, self._config.evaluation):
            measured = attempt(lambda: accuracy_and_loss(snapshot.view(*view)), tolerant=not self._strict)  # noqa: B023
            if isinstance(measured, Failure):
                self._failures("evaluation", measured.reason, snapshot.clock)
            else:
                values += measured
        return values

    def state_dict(self) -> dict[str, Any]:
        """What a resumed loop needs, of tensors and plain values, for its own checkpoint: theta_0 above all."""
        return {
            "reference": dict(self.reference),
            "epoch": self._clock.epoch,
            "step": self._clock.step,
            "records": [record.to_json() for record in self._memory.records],
            **({"sinks": self._mirror.state_dict()} if self._mirror is not None else {}),
            **({"dynamics": self._samples.state_dict()} if self._samples.gathered.views else {}),
        }

    def load_state_dict(self, state: Mapping[str, Any], *, epoch: int | None = None) -> None:
        """Go on from a checkpoint: theta_0, the clock, and the records up to then.

        With a run folder that was opened by ``resume``, its records up to the epoch stay and later ones go.

        Args:
            state: what :meth:`state_dict` gave.
            epoch: completed epochs at the checkpoint, where it was written before the last of them was measured.

        Raises:
            ProbeError: theta_0 is that of another model.
        """
        shapes = {name: tuple(p.shape) for name, p in self.model.named_parameters()}
        carried = {name: tuple(tensor.shape) for name, tensor in state["reference"].items()}
        if carried != shapes:
            name = next(name for name in [*shapes, *carried] if shapes.get(name) != carried.get(name))
            raise ProbeError(f"the state's theta_0 is of another model: {name!r} differs")
        parameters = dict(self.model.named_parameters())
        self.reference = {name: tensor.to(parameters[name].device) for name, tensor in state["reference"].items()}
        self._steps = self._no_steps()
        epoch = int(state["epoch"]) if epoch is None else epoch
        self._clock = replace(self._clock, epoch=epoch, step=int(state["step"]), progress=float(epoch))
        self._failures.forget_after(epoch)
        self._samples.load_state_dict(state.get("dynamics", {}), epoch)
        records = [Record.from_json(line) for line in state["records"]]
        self._memory.records = [record for record in records if record.epoch <= epoch]
        self._last = epoch if epoch or self._memory.records else None
        if self._mirror is not None and "sinks" in state:
            self._mirror.load_state_dict(state["sinks"])
        if self._writer is not None:
            change_settings(self._writer, self._config, epoch)
            there = self._writer.keep_until(epoch)
            lines = {record.to_json() for record in there}
            missing = [record for record in self._memory.records if record.to_json() not in lines]
            self._writer.append(missing)
            if there and missing:
                to_stderr(f"{self._writer.folder}: {len(missing)} records were missing; they are written again")
            self._memory.records = [*there, *missing]

    def close(self, status: str = "completed") -> None:
        """Training is over: the run folder, where there is one, says so.

        Args:
            status: ``completed``, ``interrupted`` or ``failed``; ``diverged`` is said of a completed run whose weights
                are not finite.
        """
        if self._closed:
            return
        status = DIVERGED if status == "completed" and self._divergence is not None else status
        self._closed = True
        self._bus.emit(RunEnded(status, self._clock))
        self._check_folder()
        if self._writer is not None:
            end(self._writer, status, epoch=self._clock.epoch)
            self._let_go()
        if self._mirror is not None:
            self._mirror.end(status)
            self._mirror = None

    def _check_folder(self) -> None:
        """Another monitor of this process may have begun anew in a folder to which no epoch was written."""
        if self._writer is not None and self._writer.closed:
            to_stderr(f"{self._writer.folder}: another monitor began there, so this one writes nothing there any more")
            self._let_go()

    def _let_go(self) -> None:
        assert self._writer is not None
        self._writer.close()
        self._recorder.writers.remove(self._writer)
        self._writer = None

    def snapshot(self) -> Snapshot:
        """The model as it stands, for a probe of your own, inside of :meth:`adapted`."""
        return Snapshot(
            model=self.model,
            data=self.data,
            clock=self._clock,
            seed=self._config.seed,
            attack=self.attack,
            black_box=self._black_box(),
            reference=self.reference,
            penultimate=self.penultimate,
            chunk=self._config.evaluation.chunk,
            batch_size=self._batch_size,
            priors=self._priors,
            history=MemoryHistory(self._clock.epoch, self._memory.records, self._memory.arrays),
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
        return to_frame(self._memory.records)

    def _mirrored(self, chosen: Mapping[str, Sink]) -> Mirror | None:
        config = to_dict(self._config)
        if self._writer is not None:
            return open_mirror(chosen, self._writer.folder, config)
        name = self._config.name
        return Mirror(chosen, Beginning(name, run_id(name, now(), id(self)), None, config, 0)) if chosen else None

    def _open(self, folder: Path, model: nn.Module, resume: bool) -> RunWriter:
        if resume and layout.is_run(folder) and not layout.is_blank(folder):
            recorded = load_config(layout.config_path(folder))
            may_differ = {"epochs", "probes", "monitored.known", *_longer(recorded, self._config)}
            if not recorded.monitored.data:  # of a monitor that did not write what it knew
                may_differ |= {"monitored", *(key for key in RunConfig.model_fields if not recorded.knows(key))}
            may_differ |= set() if recorded.data.name == GIVEN else {"data", "attack", "evaluation"}
            difference = identity.changed(recorded, self._config, sorted(may_differ))
            if difference:
                raise RunFolderError(
                    f"{folder}: holds a run of another configuration ({difference}); give another folder"
                )
            writer = RunWriter.reopen(folder)
            begin(writer)
            if not layout.samples_path(folder).is_file():  # of a monitor that did not write it
                save_samples(folder, self.data)
            return writer
        device, train = next(model.parameters()).device, self.data.splits["train"]
        info = {
            "name": self._config.name,
            **running(),
            "seed": self._config.seed if self._config.knows("seed") else None,
            "monitored": {
                **self._config.monitored.model_dump(mode="json", include={"method", "config", "tags"}),
                "unknown": [key for key in RunConfig.model_fields if not _any_known(self._config, key)],
            },
            "started": now(),
            "versions": versions(),
            "device": device.type,
            "hardware": hardware(device),
            "n_parameters": sum(p.numel() for p in model.parameters()),
            "data": {
                "name": "arrays",
                "read_from": self.data.provenance.read_from,
                "sizes": {name: part.size for name, part in self.data.splits.items()},
                "kept": {name: len(part) for name, part in self.data.splits.items()},
                **({"n_changed": int((train.y != train.y_true).sum())} if self._knows_noise else {}),
            },
        }
        writer = RunWriter.create(folder, to_yaml(self._config), info)
        save_samples(folder, self.data)
        return writer


def _longer(recorded: RunConfig, now: RunConfig) -> Iterator[str]:
    """Keys of the loop's own settings by which it is only longer now; what its schedule makes of that is its affair."""
    for name in LENGTHS:
        before, after = (config.monitored.config.get(name) for config in (recorded, now))
        if isinstance(before, int) and isinstance(after, int) and before < after:
            yield f"{identity.SETTINGS}.{name}"


def _first_parameter(model: nn.Module) -> nn.Parameter:
    """The first parameter of a model whose parameters and buffers are all there."""
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if is_lazy(tensor):
            raise ProbeError(f"the model's {name!r} has no values yet; call the model once before the monitor")
        if tensor.is_meta:
            raise ProbeError(f"the model's {name!r} has no values, it is on the device 'meta'")
    parameter = next(model.parameters(), None)
    if parameter is None:
        raise ProbeError("the model has no parameters, so there is nothing to monitor")
    return parameter


def _configuration(
    model: nn.Module,
    attack: Attack | None,
    probes: ProbesConfig,
    lengths: Mapping[str, int | None],
    *,
    seed: int | None,
    name: str | None,
    method: str | None,
    config: Mapping[str, Any] | None,
    tags: Sequence[str],
    dynamics: str = "auto",
) -> RunConfig:
    """What a run is, as far as its loop says so; the keys that are known are listed in it."""
    said = plain_settings(config or {})
    numbers = {"seed": _seed_of(seed, said.pop("seed", None)), **lengths}
    numbers = {key: value for key, value in numbers.items() if value is not None}
    known = [*MEASURED_WITH, *(("attack.norm", "attack.eps") if attack is not None else ()), *numbers]
    known += ["dynamics"] if dynamics != "auto" else []
    n, every = probes.n, probes.every
    return RunConfig(
        data=DataConfig(name=GIVEN),
        attack=_threat_of(attack),
        name=name or "monitor",
        **{"epochs": 1, **numbers},
        model=Part(name=f"{type(model).__module__}:{type(model).__qualname__}"),
        probes=probes,
        dynamics=_keeping(dynamics),
        evaluation=EvaluationConfig(every=every, n_train=n or 1000, n_test=n, n_val=n, **_evaluated_by(attack)),
        monitored=MonitoredConfig(known=tuple(known), method=method, config=said, tags=tags),
    )


def _evaluated_by(attack: Attack | None) -> dict[str, Any]:
    """The part of the evaluation's configuration that says what robust accuracy was measured with."""
    if attack is None:
        return {"n_steps": 0}
    if isinstance(attack, PGD):
        return {"n_steps": attack.n_steps, "n_restarts": attack.n_restarts, "step_size": attack.step_size}
    return {"attack": f"{type(attack).__module__}:{type(attack).__qualname__}"}


def _keeping(keep: str) -> DynamicsConfig:
    """What is kept of samples.

    Raises:
        ConfigError: there is no such level.
    """
    try:
        return DynamicsConfig.model_validate({"keep": keep})
    except ValueError as error:
        raise ConfigError(f"dynamics = {keep!r}: expected auto, full, compact, running or none") from error


PASSED_OVER = "had no such sample or class, or logits that are not finite"
MEASURED_WITH = ("data.name", "model", "evaluation", "probes")
"""Keys of the configuration that a monitor knows whatever the loop says."""


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a configuration can hold them: numbers, truths, texts, lists and groups; anything else as text."""
    return {str(key): _plain(value) for key, value in settings.items()}


def _plain(value: Any) -> Any:
    if hasattr(value, "item") and getattr(value, "size", 1) == 1 and not isinstance(value, Tensor):
        value = value.item()  # a number of numpy's
    if isinstance(value, Mapping):
        return plain_settings(value)
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    plain = value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and isfinite(value))
    return value if plain else str(value)


def _seed_of(seed: int | None, in_settings: Any) -> int | None:
    """The seed, wherever it is said.

    Raises:
        ConfigError: it is said twice, and not alike.
    """
    if seed is not None and in_settings is not None and seed != in_settings:
        raise ConfigError(f"seed = {seed}: config says seed = {in_settings}; expected one of them")
    return seed if in_settings is None else in_settings


def _any_known(config: RunConfig, section: str) -> bool:
    """Whether anything of a section is known."""
    return config.knows(section) or any(key.startswith(f"{section}.") for key in config.monitored.known)


def _threat_of(attack: Attack | None) -> AttackConfig:
    """The threat model in the configuration; how the user's own loop attacks is not known."""
    return AttackConfig() if attack is None else AttackConfig(norm=attack.threat.norm, eps=attack.threat.eps)
