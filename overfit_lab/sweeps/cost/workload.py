"""What a run has to do: a step and a chunk of evaluation of the run itself, counted, times how often they come."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache, partial

import torch
from torch import Tensor

from overfit_lab.config import CheckpointConfig, ComputeConfig, NoiseConfig, ProbesConfig, RunConfig
from overfit_lab.data.order import Order
from overfit_lab.errors import ConfigError
from overfit_lab.methods.regularizers.average import CHUNK as STATISTICS_CHUNK
from overfit_lab.methods.teachers import teacher_config
from overfit_lab.models.compute.work import forward_flops
from overfit_lab.sweeps.cost.counting import (
    META,
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
from overfit_lab.training.build import build
from overfit_lab.training.complete import complete
from overfit_lab.training.evaluation import evaluated
from overfit_lab.training.session import Session
from overfit_lab.types import Clock, Value, to_float

FEW = 4
"""Images of a batch where a component needs numbers, so that arithmetic is really done."""


@dataclass(frozen=True)
class Counts:
    """What was counted of a run; all bytes are of whole batches and whole chunks.

    Args:
        forward: floating-point operations of one image's forward pass.
        n_parameters: trainable numbers.
        epochs: the sorts of steps, with how many epochs consist of each, in order.
        chunk: work of an evaluated chunk.
        n_evaluations: how often a set of weights is evaluated, second ones too.
        statistics: work of second weights' batch-norm statistics over all training images, in all.
        n_readings: numbers that one evaluation gives.
        teachers: objectives of runs that are trained first.
        weight_bytes: of parameters and buffers.
        gradient_bytes: of the trainable parameters.
        momentum_bytes: of the optimiser.
        kept_bytes: of regularizers' memory.
        teacher_bytes: of other networks.
        label_bytes: of one training image in label memory.
        step_bytes: most that a step makes beside gradients and momentum.
        chunk_bytes: most that an evaluated chunk makes beside what stays.
        evaluated_bytes: of an evaluated image, which stay.
        n_tensors: in a light checkpoint.
    """

    forward: int
    n_parameters: int
    epochs: tuple[tuple[int, Step], ...]
    chunk: Work
    n_evaluations: int
    statistics: Work
    n_readings: int
    teachers: tuple[str, ...]
    weight_bytes: int
    gradient_bytes: int
    momentum_bytes: int
    kept_bytes: int
    teacher_bytes: int
    label_bytes: int
    step_bytes: int
    chunk_bytes: int
    evaluated_bytes: int
    n_tensors: int


@dataclass(frozen=True)
class Workload:
    """What a run has to do.

    Args:
        config: the run, complete.
        data: its splits.
        counts: what was counted.
        parts: work of ``attack`` (all of a step before its loss), ``update`` and ``evaluation``.
        n_steps: steps in all.
        n_exchanges: gradients that several devices would have to sum, in all.
        teachers: the runs that are trained first.
    """

    config: RunConfig
    data: DataShape
    counts: Counts
    parts: dict[str, Work]
    n_steps: int
    n_exchanges: int
    teachers: dict[str, Workload] = field(default_factory=dict)

    @property
    def training(self) -> Work:
        """Attack and update together."""
        return self.parts["attack"] + self.parts["update"]

    @property
    def attack_share(self) -> float:
        """The attack's share of the training's arithmetic, in [0, 1]."""
        return self.parts["attack"].flops / max(self.training.flops, 1)

    @property
    def batch(self) -> int:
        """Images of a step."""
        return min(self.config.batch_size, self.data.n_train)

    @property
    def label_bytes(self) -> int:
        """Bytes of label memory."""
        return self.data.n_train * self.counts.label_bytes

    @property
    def evaluated(self) -> dict[str, int]:
        """Images by split that an evaluation makes."""
        return _evaluated(self.config, self.data)

    @property
    def left_out(self) -> list[str]:
        """What is not in the numbers, in words."""
        asked, probes = self.config.evaluation, self.config.probes
        found = []
        if asked.n_steps and asked.attack != "pgd":
            found.append(f"evaluation.attack {asked.attack}, whose work depends on what it finds (taken as PGD)")
        if probes.metrics:
            found.append(f"the probes ({', '.join(probes.metrics)})")
        patient = [part.name for part in self.config.regularizers if part.options.get("patience") is not None]
        found += [f"an earlier end by {name}" for name in patient]
        return [*found, "reading the data, compiling, and what else other processes take"]


def workload(config: RunConfig, data: DataShape | None = None) -> Workload:
    """Count a run.

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
    order = Order(data.n_train, batch_size=config.batch_size, seed=0, device=META)
    n_images = min(order.n_batches * config.batch_size, data.n_train)
    work = Workload(config, data, counts, {}, config.epochs * order.n_batches, 0)
    scale = n_images / work.batch, order.n_batches
    parts = {"attack": Work(), "update": Work(), "evaluation": counts.statistics}
    n_exchanges = 0
    for n_epochs, step in counts.epochs:
        images, batches = (n_epochs * factor for factor in scale)
        parts["attack"] += step.attack.scaled(images, batches)
        parts["update"] += step.update.scaled(images, batches)
        n_exchanges += n_epochs * order.n_batches * step.n_exchanges
    sizes = work.evaluated.values()
    images = sum(sizes) / chunk_of(config, data)
    batches = sum(-(-n // config.evaluation.chunk) for n in sizes)
    parts["evaluation"] += counts.chunk.scaled(images * counts.n_evaluations, batches * counts.n_evaluations)
    teachers = {name: workload(teacher_config(config, name), data) for name in counts.teachers}
    return Workload(config, data, counts, parts, work.n_steps, n_exchanges, teachers)


def _evaluated(config: RunConfig, data: DataShape) -> dict[str, int]:
    """Images by split that an evaluation makes: whole chunks, so a few more than it looks at."""
    asked, chunk = config.evaluation, config.evaluation.chunk
    wanted = {"train": asked.n_train, "val": asked.n_val, "test": asked.n_test}
    return {name: min(-(-(wanted[name] or n) // chunk) * chunk, n) for name, n in data.sizes.items() if n}


def chunk_of(config: RunConfig, data: DataShape) -> int:
    """Images of an evaluation's largest chunk."""
    return min(config.evaluation.chunk, max(_evaluated(config, data).values()))


def _what_counts(config: RunConfig) -> RunConfig:
    """The configuration without what changes no count, so that runs of a grid are counted once."""
    plain = config.data.model_copy(update={"augment": (), "noise": NoiseConfig(), "seed": None})
    evaluation = config.evaluation.model_copy(update={"attack": "pgd"})
    kept = {"data": plain, "evaluation": evaluation, "probes": ProbesConfig(), "checkpoint": CheckpointConfig()}
    compute = ComputeConfig(precision="fp32", compile=False, channels_last=False, fold=False, label_memory="device")
    return config.model_copy(update={"name": "run", "seed": 0, "compute": compute, **kept})


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
    most = None if device == META else FEW
    batch, chunk = min(config.batch_size, data.n_train), chunk_of(config, data)
    n, m = (min(size, most or size) for size in (batch, chunk))
    with Counter(without_numbers=device == META) as counter:
        watch = Watch(counter)
        session = build(config, device, data=made_up_data(data, n, m, device), world=watch)
        session.device = torch.device("cpu")
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
        count = lru_cache(maxsize=None)(partial(count_step, session, counter, watch))
        epochs = steps_of_epochs(count, 0, config.epochs - 1)
        of_step = counter.peak - start
    weights, trained = session.model.state_dict().values(), [p for p in session.model.parameters() if p.requires_grad]
    kept = [t for r in session.regularizers.values() for t in r.state_dict().values()]
    gradient_bytes = _bytes(trained)
    momentum_bytes = _bytes(t for state in session.optimizer.state.values() for t in state.values())
    teacher_bytes = len(loaded) * _bytes(weights)
    return Counts(
        forward=forward_flops(session.model, to_float(session.data.splits["train"].x[:1])),
        n_parameters=sum(p.numel() for p in trained),
        epochs=tuple((n_epochs, step.scaled(batch / n)) for n_epochs, step in epochs),
        chunk=of_chunk.scaled(chunk / m, 1),
        n_evaluations=n_evaluations,
        statistics=statistics,
        n_readings=n_readings,
        teachers=tuple(first.name for first in session.teachers.to_train()) if session.teachers is not None else (),
        weight_bytes=_bytes(weights),
        gradient_bytes=gradient_bytes,
        momentum_bytes=momentum_bytes,
        kept_bytes=_bytes(kept),
        teacher_bytes=teacher_bytes,
        label_bytes=_bytes(t for t in session.labels.state_dict().values() if t.dim() > 1) // n,
        step_bytes=round((of_step - gradient_bytes - momentum_bytes - teacher_bytes) * batch / n),
        chunk_bytes=round((peak - stays) * chunk / m),
        evaluated_bytes=stays // m,
        n_tensors=len(weights) + len(kept),
    )


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
