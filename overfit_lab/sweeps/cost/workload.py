"""What a run has to do: a step and a chunk of evaluation of the run itself, counted, times how often they come."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache, partial

import torch
from torch import Tensor

from overfit_lab.config import CheckpointConfig, ComputeConfig, NoiseConfig, ProbesConfig, RunConfig
from overfit_lab.config.schema import DynamicsConfig
from overfit_lab.data.order import Order
from overfit_lab.errors import ConfigError
from overfit_lab.methods.regularizers.average import CHUNK as STATISTICS_CHUNK
from overfit_lab.methods.teachers import teacher_config
from overfit_lab.models.compute.work import forward_flops
from overfit_lab.sweeps.cost.counting import (
    Counter,
    Step,
    Watch,
    Work,
    count_step,
    made_up_data,
    steps_of_epochs,
    take_chunk,
)
from overfit_lab.sweeps.cost.data_shape import DataShape, data_shape
from overfit_lab.sweeps.cost.shapes import META
from overfit_lab.training.build import build
from overfit_lab.training.complete import complete
from overfit_lab.training.dynamics import Dynamics
from overfit_lab.training.evaluation import evaluated
from overfit_lab.training.session import Session
from overfit_lab.types import Clock, Value, to_float

FEW = 4
"""Images of a batch where a component needs numbers, so that arithmetic is really done."""


@dataclass(frozen=True)
class Counts:
    """What was counted of a run.

    Args:
        forward: floating-point operations of one image's forward pass.
        n_parameters: trainable numbers.
        epochs: the sorts of steps, with how many epochs consist of each, in order.
        chunk: work of an evaluated chunk.
        n_evaluations: how often a set of weights is evaluated, second ones too.
        statistics: work of second weights' batch-norm statistics over all training images, in all.
        n_readings: numbers that one evaluation gives.
        teachers: objectives of runs that are trained first.
        names: of the tensors in a light checkpoint.
        n_momenta: tensors of the optimiser's state.
        views: images that a step's outputs are of, as per-sample dynamics tell them.
        weight_bytes: of parameters and buffers.
        momentum_bytes: of the optimiser.
        regularizer_bytes: of regularizers' memory.
        teacher_bytes: of other networks.
        label_bytes: of one training image in label memory.
        step_bytes: most that a step of a full batch makes beside gradients and momentum.
        chunk_bytes: most that an evaluated chunk makes beside what stays.
        evaluated_bytes: of an evaluated image, which stay.
    """

    forward: int
    n_parameters: int
    epochs: tuple[tuple[int, Step], ...]
    chunk: Work
    n_evaluations: int
    statistics: Work
    n_readings: int
    teachers: tuple[str, ...]
    names: tuple[str, ...]
    n_momenta: int
    views: tuple[str, ...]
    weight_bytes: int
    momentum_bytes: int
    regularizer_bytes: int
    teacher_bytes: int
    label_bytes: int
    step_bytes: int
    chunk_bytes: int
    evaluated_bytes: int

    @property
    def gradient_bytes(self) -> int:
        """Of the trainable numbers in float32."""
        return 4 * self.n_parameters


@dataclass(frozen=True)
class Workload:
    """What a run has to do.

    Args:
        config: the run, complete.
        data: its splits.
        counts: what was counted.
        teachers: the runs that are trained first.
    """

    config: RunConfig
    data: DataShape
    counts: Counts
    teachers: dict[str, Workload]

    @property
    def batch(self) -> int:
        """Images of a step."""
        return min(self.config.batch_size, self.data.n_train)

    @property
    def n_steps(self) -> int:
        """Steps in all."""
        return self.config.epochs * self._n_batches

    @property
    def n_exchanges(self) -> int:
        """Gradients that several devices would have to sum, in all."""
        return sum(n_epochs * self._n_batches * step.n_exchanges for n_epochs, step in self.counts.epochs)

    @cached_property
    def _n_batches(self) -> int:
        return Order(self.data.n_train, batch_size=self.config.batch_size, seed=0, device=META).n_batches

    @cached_property
    def parts(self) -> dict[str, Work]:
        """Work of ``attack`` (all of a step before its loss), ``update`` and ``evaluation``."""
        counts, n_batches = self.counts, self._n_batches
        images = min(n_batches * self.config.batch_size, self.data.n_train) / self.batch
        attack, update = Work(), Work()
        for n_epochs, step in counts.epochs:
            attack += step.attack.scaled(n_epochs * images, n_epochs * n_batches)
            update += step.update.scaled(n_epochs * images, n_epochs * n_batches)
        sizes, n = evaluated_sizes(self.config, self.data), counts.n_evaluations
        chunks = sum(-(-size // self.config.evaluation.chunk) for size in sizes)
        evaluation = counts.chunk.scaled(sum(sizes) / chunk_of(self.config, self.data) * n, chunks * n)
        return {"attack": attack, "update": update, "evaluation": counts.statistics + evaluation}

    @property
    def training(self) -> Work:
        """Attack and update together."""
        return self.parts["attack"] + self.parts["update"]

    @property
    def attack_share(self) -> float:
        """The attack's share of the training's arithmetic, in [0, 1]."""
        return self.parts["attack"].flops / max(self.training.flops, 1)

    @property
    def flops(self) -> int:
        """Floating-point operations of everything, teachers too."""
        of_teachers = sum(teacher.flops for teacher in self.teachers.values())
        return of_teachers + sum(part.flops for part in self.parts.values())

    @property
    def label_bytes(self) -> int:
        """Bytes of label memory."""
        return self.data.n_train * self.counts.label_bytes

    @property
    def left_out(self) -> list[str]:
        """What is not in the numbers, in words."""
        evaluation, probes = self.config.evaluation, self.config.probes
        texts = []
        if evaluation.n_steps and evaluation.attack != "pgd":
            texts.append(f"evaluation.attack {evaluation.attack}, whose work depends on what it finds (taken as PGD)")
        if probes.metrics:
            texts.append(f"the probes ({', '.join(probes.metrics)})")
        patient = [part.name for part in self.config.regularizers if part.options.get("patience") is not None]
        texts += [f"an earlier end by {name}" for name in patient]
        return [*texts, "reading the data, compiling, and what else other processes take"]


def workload(config: RunConfig, data: DataShape | None = None) -> Workload:
    """Count a run, and the teachers that are trained for it first.

    Args:
        config: the run.
        data: its splits, where they are known otherwise.

    Raises:
        ConfigError: a wrong configuration, or a data set whose size is not known; one line.

    Cost: the network drawn once, two or three steps and a chunk of evaluation without numbers; no data.
    """
    config = complete(config)
    data = data if data is not None else data_shape(config.data, config.seed)
    counts = _counts(_what_counts(config).model_dump_json(), data)
    teachers = {name: workload(teacher_config(config, name), data) for name in counts.teachers}
    return Workload(config, data, counts, teachers)


def evaluated_sizes(config: RunConfig, data: DataShape) -> list[int]:
    """Images of each split that an evaluation makes: full chunks, so a few more than it looks at."""
    evaluation, chunk = config.evaluation, config.evaluation.chunk
    wanted = {"train": evaluation.n_train, "val": evaluation.n_val, "test": evaluation.n_test}
    return [min(-(-(wanted[name] or n) // chunk) * chunk, n) for name, n in data.sizes.items() if n]


def chunk_of(config: RunConfig, data: DataShape) -> int:
    """Images of an evaluation's largest chunk."""
    return min(config.evaluation.chunk, max(evaluated_sizes(config, data)))


def _what_counts(config: RunConfig) -> RunConfig:
    """The configuration without what changes no count, so that runs of a grid are counted once."""
    changes = {
        "name": "run",
        "seed": 0,
        "data": config.data.model_copy(update={"augment": (), "noise": NoiseConfig(), "seed": None}),
        "evaluation": config.evaluation.model_copy(update={"attack": "pgd"}),
        "probes": ProbesConfig(),
        "dynamics": DynamicsConfig(),
        "checkpoint": CheckpointConfig(),
        "compute": ComputeConfig(
            precision="fp32", compile=False, channels_last=False, fold=False, label_memory="device"
        ),
    }
    return config.model_copy(update=changes)


@lru_cache(maxsize=64)
def _counts(config: str, data: DataShape) -> Counts:
    """Counted without numbers, or with few images where a component does not work without."""
    run = RunConfig.model_validate_json(config)
    with torch.random.fork_rng(devices=[]):
        try:
            return _count(run, data, META)
        except (RuntimeError, NotImplementedError, ConfigError):
            return _count(run, data, torch.device("cpu"))


def _count(config: RunConfig, data: DataShape, device: torch.device) -> Counts:
    batch, chunk = min(config.batch_size, data.n_train), chunk_of(config, data)
    n, m = (size if device == META else min(size, FEW) for size in (batch, chunk))
    with Counter(without_numbers=device == META) as counter:
        watch = Watch(counter)
        session = build(config, device, data=made_up_data(data, n, m, device), world=watch)
        session.device = torch.device("cpu")
        session.dynamics = seen = ViewsSeen(0, device)
        loaded: list[torch.nn.Module] = []
        if session.teachers is not None:
            session.teachers.load = lambda _: loaded.append(copy.deepcopy(session.model)) or loaded[-1]  # type: ignore
        n_evaluations, statistics = _evaluations(session, counter, data.n_train)
        before, start = counter.work, counter.now
        counter.peak = start
        snapshot = take_chunk(session)
        of_chunk = counter.work - before
        stays, peak = counter.now - start, counter.peak - start
        n_readings = 2 * len(evaluated(snapshot, config.evaluation))
        del snapshot
        counter.peak = start = counter.now
        epochs = steps_of_epochs(cache(partial(count_step, session, counter, watch)), 0, config.epochs - 1)
        of_step = counter.peak - start
    state = session.model.state_dict()
    weights = state.values()
    n_parameters = sum(p.numel() for p in session.model.parameters() if p.requires_grad)
    memory = {
        f"regularizers/{owner}/{name}": t
        for owner, r in session.regularizers.items()
        for name, t in r.state_dict().items()
    }
    momenta = [t for of_one in session.optimizer.state.values() for t in of_one.values() if isinstance(t, Tensor)]
    momentum = _bytes(momenta)
    of_teachers = len(loaded) * _bytes(weights)
    return Counts(
        forward=forward_flops(session.model, to_float(session.data.splits["train"].x[:1])),
        n_parameters=n_parameters,
        epochs=tuple((n_epochs, step.scaled(batch / n)) for n_epochs, step in epochs),
        chunk=of_chunk.scaled(chunk / m, 1),
        n_evaluations=n_evaluations,
        statistics=statistics,
        n_readings=n_readings,
        teachers=tuple(first.name for first in session.teachers.to_train()) if session.teachers is not None else (),
        names=(*(f"model/{n}" for n in state), *memory, *(f"labels/{n}" for n in session.labels.state_dict())),
        n_momenta=len(momenta),
        views=tuple(sorted(seen.names)),
        weight_bytes=_bytes(weights),
        momentum_bytes=momentum,
        regularizer_bytes=_bytes(memory.values()),
        teacher_bytes=of_teachers,
        label_bytes=_bytes(t for t in session.labels.state_dict().values() if t.dim() > 1) // n,
        step_bytes=round((of_step - 4 * n_parameters - momentum - of_teachers) * batch / n),
        # Isolation holds a copy of the weights, which does not grow with the images.
        chunk_bytes=_bytes(weights) + round((peak - stays - _bytes(weights)) * chunk / m),
        evaluated_bytes=stays // m,
    )


class ViewsSeen(Dynamics):
    """Notes which views there are, and gathers nothing."""

    def __init__(self, n_samples: int, device: torch.device) -> None:
        super().__init__(n_samples, device)
        self.names: set[str] = set()

    def take(self, view: str, index: Tensor, y: Tensor, logits: Tensor, *, counts: bool = True) -> None:
        """Note the view."""
        self.names.add(view)


def _evaluations(session: Session, counter: Counter, n_train: int) -> tuple[int, Work]:
    """How often a set of weights is evaluated, and the work of second ones' statistics: all epochs without steps."""
    epochs, every = session.config.epochs, session.config.evaluation.every
    n_evaluations, statistics, n = 0, Work(), len(session.data.splits["train"])
    chunks = -(-n_train // STATISTICS_CHUNK) / -(-n // STATISTICS_CHUNK)
    for epoch in range(1, epochs + 1):
        session.clock = Clock(epoch, epoch, epochs, float(epoch))
        for regularizer in session.regularizers.values():
            regularizer.stepped(Clock(epoch - 1, epoch, epochs, float(epoch - 1)))
            regularizer.epoch_ended(session.clock)
        if epoch < epochs and epoch % every:
            continue
        better = [Value(name, epoch / epochs, split) for name in ("acc_clean", "acc_adv") for split in ("val", "test")]
        for regularizer in session.regularizers.values():
            regularizer.evaluated(better, session.clock)
        before = counter.work
        n_evaluations += 1 + len(session.second_snapshots())
        statistics += (counter.work - before).scaled(n_train / n, chunks)
    return n_evaluations, statistics


def _bytes(tensors: Iterable[Tensor | None]) -> int:
    return sum(t.nbytes for t in tensors if isinstance(t, Tensor))
