"""How often a run passes its network: the run's own objective, labels, regularizers and attack on a stand-in network.

Nothing is said here of any component by name: each epoch's step is taken by the training loop itself, with a network
of one matrix that counts. So whatever a component does is in the count, a stranger's too.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import torch

from overfit_lab.config import CheckpointConfig, ComputeConfig, NoiseConfig, Part, ProbesConfig, RunConfig
from overfit_lab.methods.teachers import TRAINED_FIRST, teacher_config
from overfit_lab.probes.snapshot import Snapshot
from overfit_lab.sweeps.cost.data_shape import DataShape
from overfit_lab.sweeps.cost.stand_in import Counted, N, Operations, StandIn, Tally, stand_in_data
from overfit_lab.training.build import build
from overfit_lab.training.events import EventBus
from overfit_lab.training.information import InformationTally
from overfit_lab.training.session import Session
from overfit_lab.training.step import train_step
from overfit_lab.training.tally import Tally as EpochTally
from overfit_lab.types import Clock, Value

Passes = dict[tuple[str, str], float]
"""Passes of an image through the network by part (attack, update, evaluation) and kind: ``forward``, ``to_input`` (a
backward pass to the image alone), ``to_weights`` (one to the weights) and ``teacher`` (a forward pass of a teacher)."""


Sort = tuple[tuple[tuple[str, str], float], ...]
"""The passes of an image in one step."""


@dataclass
class Rehearsal:
    """What a run does, in passes.

    Args:
        steps: by each sort of step, the epochs that consist of such.
        others: by each sort of step, the operations of its parts that are none of the network's.
        last: the sort of the last epoch's steps.
        evaluation: of one image on one set of weights.
        evaluation_calls: operations of a batch that is evaluated that are none of the network's.
        n_evaluations: how often a set of weights is evaluated, second ones too.
        statistics: forward passes of the whole training split in evaluations, for batch-norm statistics.
        graphs: forward passes whose activations are kept until the step's backward pass.
        label_row_bytes: bytes of label memory for each training image.
        weight_copies: copies of the weights that regularizers keep, also in checkpoints.
        teachers: runs that are trained first, by name.
        left_out: what could not be counted, in words.
    """

    steps: Counter[Sort] = field(default_factory=Counter)
    others: dict[Sort, dict[str, int]] = field(default_factory=dict)
    last: Sort = ()
    evaluation: Passes = field(default_factory=dict)
    evaluation_calls: int = 0
    n_evaluations: int = 0
    statistics: float = 0.0
    graphs: int = 1
    label_row_bytes: int = 0
    weight_copies: int = 0
    teachers: dict[str, RunConfig] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def other_calls(self, part: str) -> int:
        """Operations beside the network's, in a step of every epoch."""
        return sum(self.others[step].get(part, 0) * n_epochs for step, n_epochs in self.steps.items())

    def last_step(self) -> dict[str, float]:
        """Passes of an image in a step of the last epoch, by kind."""
        total: Counter[str] = Counter()
        for (_, kind), passes in self.last:
            total[kind] += passes  # type: ignore[assignment]
        return dict(total)

    @property
    def n_teachers(self) -> int:
        """Networks beside the run's own that a step asks."""
        return max((round(n) for step in self.steps for (_, kind), n in step if kind == "teacher"), default=0)

    @property
    def backwards(self) -> int:
        """Backward passes to the weights of a step, each of as many graphs as the objective has: 2 with AWP."""
        most = max((n for step in self.steps for (_, kind), n in step if kind == "to_weights"), default=0)
        return round(most / max(self.graphs, 1))

    def training(self) -> Passes:
        """Passes of an image in all epochs."""
        total: Counter[tuple[str, str]] = Counter()
        for step, n_epochs in self.steps.items():
            for key, passes in step:
                total[key] += passes * n_epochs  # type: ignore[assignment]
        return dict(total)


def rehearse(config: RunConfig, shape: DataShape, *, norm: bool) -> Rehearsal:
    """Go through all epochs of a run with one batch of four images each.

    Args:
        config: the run, complete.
        shape: its data.
        norm: whether its network has batch norm.

    Cost: some milliseconds an epoch for PGD-10.
    """
    with torch.random.fork_rng(devices=[]):
        session, tally = _session(config, shape, norm)
        found = Rehearsal(teachers=_teachers(config, session))
        _memory(session, tally, found)
        for epoch in range(config.epochs):
            _epoch(session, epoch, tally, found)
        _evaluation(session, tally, found)
    _left_out(config, found)
    return found


def _session(config: RunConfig, shape: DataShape, norm: bool) -> tuple[Session, Tally]:
    data = stand_in_data(shape)
    plain = config.model_copy(
        update={
            "model": Part.model_validate({"name": "overfit_lab.sweeps.cost.stand_in:stand_in", "norm": norm}),
            "batch_size": N,
            "data": config.data.model_copy(update={"augment": (), "noise": NoiseConfig()}),
            "evaluation": config.evaluation.model_copy(update={"attack": "pgd"}),
            "probes": ProbesConfig(),
            "checkpoint": CheckpointConfig(),
            "compute": ComputeConfig(precision="fp32", compile=False, channels_last=False, fold=False),
        }
    )
    session = build(plain, torch.device("cpu"), data=data)
    assert isinstance(session.model, StandIn)
    tally = session.model.tally
    tally.take()
    if session.teachers is not None:
        session.teachers.load = lambda _: StandIn(data.n_classes, data.shape, norm, "teacher", tally)
    if session.attack is not None:
        session.attack = Counted(session.attack, tally)
    return session, tally


def _teachers(config: RunConfig, session: Session) -> dict[str, RunConfig]:
    """The runs that are trained first, with the run's own network."""
    sources = session.teachers.sources if session.teachers is not None else []
    names = [source.removeprefix(TRAINED_FIRST) for source in sources if source.startswith(TRAINED_FIRST)]
    return {name: teacher_config(config, name) for name in dict.fromkeys(names)}


def _memory(session: Session, tally: Tally, found: Rehearsal) -> None:
    """What labels and regularizers keep, and how many passes share a graph."""
    memory = session.labels.state_dict().values()
    found.label_row_bytes = sum(t.nbytes for t in memory if t.dim() > 1) // N
    kept = sum(t.nbytes for r in session.regularizers.values() for t in r.state_dict().values())
    found.weight_copies = kept // sum(t.nbytes for t in session.model.state_dict().values())
    batch = next(iter(session.loader.epoch(0)))
    session.model.train()
    session.objective.forward(session.model, batch, batch.x)
    found.graphs = round(sum(tally.take().values()))


def _epoch(session: Session, epoch: int, tally: Tally, found: Rehearsal) -> None:
    """A step of an epoch, and what its end brings."""
    session.clock = Clock(epoch, epoch, session.config.epochs, float(epoch))
    session.optimizer.param_groups[0]["lr"] = 0.0
    _step(session, epoch)
    sort = tuple(tally.take().items())
    found.steps[sort] += 1
    found.last = sort
    if sort not in found.others:
        with Operations(tally) as operations:
            _step(session, epoch)
        found.others[sort] = dict(operations.calls)
        tally.take()
    session.clock = replace(session.clock, epoch=epoch + 1, step=epoch + 1, progress=float(epoch + 1))
    regularizers = session.regularizers.values()
    for regularizer in regularizers:
        regularizer.stepped(session.clock)
        regularizer.epoch_ended(session.clock)
    if epoch + 1 < session.config.epochs and (epoch + 1) % session.config.evaluation.every:
        return
    better = (epoch + 1) / session.config.epochs
    values = [Value(name, better, split) for name in ("acc_clean", "acc_adv") for split in ("val", "test")]
    for regularizer in regularizers:
        regularizer.evaluated(values, session.clock)
    with tally.counting("evaluation"):
        found.n_evaluations += 1 + len(session.second_snapshots())
    found.statistics += sum(tally.take().values())


def _step(session: Session, epoch: int) -> None:
    """What the training loop does with a batch."""
    batch = next(iter(session.loader.epoch(epoch)))
    loss = train_step(session, batch, EventBus())
    EpochTally(session.device).add(loss, session.model, len(batch.y))
    InformationTally(session.reference).add(session.model, len(batch.y))
    session.optimizer.step()


def _evaluation(session: Session, tally: Tally, found: Rehearsal) -> None:
    """The passes of an image that is evaluated."""
    snapshot: Snapshot = session.snapshot()
    given = {"clean": True, "adversarial": snapshot.attack, "noisy": snapshot.corruption}
    with tally.counting("evaluation"), Operations(tally) as operations:
        for inputs, attack in given.items():
            if attack is not None:
                snapshot.view("test", inputs, N)
    found.evaluation = tally.take()
    found.evaluation_calls = operations.calls["evaluation"]


def _left_out(config: RunConfig, found: Rehearsal) -> None:
    evaluation, probes = config.evaluation, config.probes
    if evaluation.n_steps and evaluation.attack != "pgd":
        found.left_out.append(
            f"evaluation.attack {evaluation.attack}, whose work depends on what it finds (taken as PGD)"
        )
    if probes.metrics:
        found.left_out.append(f"the probes ({', '.join(probes.metrics)})")
    for part in config.regularizers:
        if part.options.get("patience") is not None:
            found.left_out.append(f"an earlier end by {part.name}")
