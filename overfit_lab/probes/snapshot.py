"""A model at one moment of its training, with everything that a probe may look at, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from overfit_lab.errors import FailedError, ProbeError, in_one_line
from overfit_lab.methods.attacks.base import Attack
from overfit_lab.methods.attacks.losses import CrossEntropy
from overfit_lab.methods.labels.base import LabelMode, one_hot
from overfit_lab.methods.objectives.base import Objective
from overfit_lab.models.isolation import isolated
from overfit_lab.probes.priors.store import PriorStore
from overfit_lab.processes.world import ALONE, World
from overfit_lab.seeds import derive_generator
from overfit_lab.types import Batch, Clock, Dataset, Targets, Value, to_float

INPUTS = ("clean", "adversarial", "noisy", "black-box")
STREAMS = {"adversarial": "evaluation-attack", "noisy": "evaluation-noise", "black-box": "evaluation-black-box"}
RAW = "raw"
"""Name of the weights that the optimiser moves."""


@dataclass(frozen=True)
class View:
    """The first n samples of a split's fixed probe order, at ``index`` (n,), clean or attacked, with logits on them.

    Args:
        inputs: ``"clean"``, ``"adversarial"``, ``"noisy"`` or ``"black-box"``.
        x: images in [0, 1] (n, C, H, W).
        y: given labels (n,).
        y_true: labels before noise (n,).
        corrupted: True where noise resampled the label (n,).
        logits: the model's logits on ``x``, batch norm in eval mode (n, K).
    """

    split: str
    inputs: str
    x: Tensor
    y: Tensor
    y_true: Tensor
    corrupted: Tensor
    index: Tensor
    logits: Tensor

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def arrays(self, **per_sample: np.ndarray) -> dict[str, np.ndarray]:
        """Arrays of a row a sample, named ``NAME-SPLIT-INPUTS``, with ``index``: the positions of the samples.

        By these samples.npz says which file or row each of them is. An underscore in a name becomes a hyphen.
        """
        named = {**per_sample, "index": self.index.cpu().numpy()}
        return {f"{name.replace('_', '-')}-{self.split}-{self.inputs}": array for name, array in named.items()}

    def value(
        self,
        field: str,
        value: float,
        *,
        labels: str = "given",
        stderr: float | None = None,
        n: int | None = None,
        via: str = "",
    ) -> Value:
        """A number measured on this view, with the split, the inputs and the number of samples filled in."""
        return Value(field, value, self.split, self.inputs, labels, len(self) if n is None else n, stderr, via)


@dataclass
class Made:
    """Images (room, C, H, W) and logits (room, K) of one split and kind of inputs: ``n`` of them, and room for more.

    Views are parts of it, not copies.
    """

    x: Tensor
    logits: Tensor
    n: int = 0

    @classmethod
    def with_room(cls, room: int, x: Tensor, logits: Tensor, before: Made | None) -> Made:
        """Room for so many, shaped as those given, holding what ``before`` held."""
        made = cls(x.new_empty((room, *x.shape[1:])), logits.new_empty((room, *logits.shape[1:])))
        if before is not None:
            made.add(before.x[: before.n], before.logits[: before.n])
        return made

    def add(self, x: Tensor, logits: Tensor) -> None:
        """Put more after those that are there."""
        end = self.n + len(x)
        self.x[self.n : end], self.logits[self.n : end] = x, logits
        self.n = end


class History(Protocol):
    """What was measured of a run up to a snapshot; later measurements are not in it."""

    def series(
        self, probe: str, field: str, split: str = "", inputs: str = ""
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One number over epochs: epochs, values, standard errors (NaN where unknown), each (m,); m may be 0.

        The snapshot's own epoch is in it for ``training`` and ``evaluation``, which come before all probes; a probe's
        numbers are those of earlier epochs. Split and inputs are "" where the number is of none.
        """
        ...

    def arrays(self, probe: str, name: str) -> tuple[int, np.ndarray] | None:
        """The latest array of that name from an earlier epoch, with its epoch; None where there is none."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """What stays the same from one snapshot of a run to the next.

    Args:
        attack: the evaluation attack; None where adversarial inputs are not defined.
        corruption: the noise of noisy inputs; None where they are not defined.
        black_box: the attack of black-box inputs, which uses no gradient; None where they are not defined.
        objective: the training objective, where known.
        labels: the label mode with its memory, where known.
        reference: the parameters that weights are compared with (theta_0), by name; None where unknown.
        penultimate: name of the layer whose input are the penultimate features; None where not declared.
        chunk: samples per forward pass.
        batch_size: the training batch size, for readings that are per mini-batch; None where it is not known.
        priors: what priors other than the reference are made from; by default from weights files alone.
    """

    data: Dataset
    seed: int = 0
    attack: Attack | None = None
    corruption: Attack | None = None
    black_box: Attack | None = None
    objective: Objective | None = None
    labels: LabelMode | None = None
    reference: dict[str, Tensor] | None = None
    penultimate: str | None = None
    chunk: int = 256
    batch_size: int | None = None
    priors: PriorStore = field(default_factory=PriorStore)


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot(Setting):
    """What a probe sees. The same snapshot, live or rebuilt from a checkpoint, gives the same numbers.

    Adversarial images and logits are computed once, in fixed chunks of the split's probe order with a random stream
    of their own, and shared by every probe; a request for fewer samples gets the first of them.

    Args:
        model: maps images in [0, 1] to logits; never changed.
        clock: the moment.
        weights: which weights the model has: ``"raw"``, or the name of the regularizer that keeps them.
        drawn_at: the epoch whose random draws attacks and probes take; None: that of the clock.
        history: what was measured of the run so far; None where there is no run.
        imported: the weights were trained elsewhere, so the clock counts no epochs but tells draws apart.
    """

    model: nn.Module
    clock: Clock
    weights: str = RAW
    drawn_at: int | None = None
    history: History | None = None
    imported: bool = False
    _made_inputs: dict[tuple[str, str], Made] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, setting: Setting, **moment: Any) -> Snapshot:
        """The snapshot of a moment, by the names of this class's own fields."""
        return cls(**{f.name: getattr(setting, f.name) for f in fields(Setting)}, **moment)

    @classmethod
    def like(cls, snapshot: Snapshot, **attributes: Any) -> Self:
        """A copy of another snapshot with no inputs made yet and some attributes set; the model is shared."""
        copied = cls.__new__(cls)
        # Past the constructor, since the snapshot may be of a class with other fields.
        copied.__dict__.update(snapshot.__dict__ | {"_made_inputs": {}} | attributes)
        return copied

    @property
    def epoch(self) -> int | None:
        """Completed epochs; None of imported weights."""
        return None if self.imported else self.clock.epoch

    @property
    def n_classes(self) -> int:
        """Number of classes K."""
        return self.data.n_classes

    @property
    def device(self) -> torch.device:
        """Where the model is, and the images with it."""
        return next(self.model.parameters()).device

    def name_of(self, probe: str) -> str:
        """What a probe's numbers on these weights are called: ``iiw``, or ``iiw@swa`` on other than the raw ones."""
        return probe if self.weights == RAW else f"{probe}@{self.weights}"

    def generator(self, *path: str | int) -> torch.Generator:
        """A random stream that depends on the run's seed, the epoch of the draws and the given name alone."""
        epoch = self.clock.epoch if self.drawn_at is None else self.drawn_at
        return derive_generator(self.seed, *path, epoch, device=self.device)

    def has_split(self, split: str) -> bool:
        """Whether the split exists and holds a sample."""
        return split in self.data.splits and len(self.data.splits[split]) > 0

    def check_view(self, split: str, inputs: str) -> None:
        """Refuse a view that cannot be had.

        Raises:
            ProbeError: the split is absent or empty, or adversarial inputs are asked for and there is no attack.
        """
        if not self.has_split(split):
            have = ", ".join(name for name in self.data.splits if self.has_split(name)) or "none"
            raise ProbeError(f"split {split!r} is empty or absent; this data has: {have}")
        if inputs not in INPUTS:
            raise ProbeError(f"inputs {inputs!r}: expected {', '.join(INPUTS[:-1])} or {INPUTS[-1]}")
        if inputs == "adversarial" and self.attack is None:
            raise ProbeError("adversarial inputs need an attack; this snapshot has none")
        if inputs == "noisy" and self.corruption is None:
            raise ProbeError("noisy inputs need a noise; name one by evaluation.corruption, such as gaussian-noise")
        if inputs == "black-box" and self.black_box is None:
            raise ProbeError("black-box inputs need an attack without gradients; this snapshot has none")

    def view(self, split: str, inputs: str, n: int | None = None) -> View:
        """The first ``n`` samples of the split's probe order (all of them for None or a larger n).

        Raises:
            ProbeError: the split is absent or empty, or adversarial inputs are asked for and there is no attack.

        Cost: one forward pass per sample, and the attack's forward and backward passes for adversarial inputs; the
        first time only.
        """
        self.check_view(split, inputs)
        part = self.data.splits[split]
        n = len(part) if n is None else min(n, len(part))
        made = self._made(split, inputs, n)
        index = part.order[:n]
        labels = (part.y[index], part.y_true[index], part.corrupted[index])
        return View(split, inputs, made.x[:n], *labels, index, made.logits[:n])

    def make_together(self, wanted: Iterable[tuple[str, str, int | None]], world: World) -> None:
        """Make inputs and logits, the chunks shared out among the processes of a run; every process then has them all.

        The numbers are those that one process gets, since a chunk's depend on its place alone.
        """
        if world.size == 1:
            return
        for split, inputs, n in wanted:
            self.check_view(split, inputs)
            size = len(self.data.splits[split])
            self._made(split, inputs, size if n is None else min(n, size), world)

    def _chunks(self, split: str, inputs: str, starts: range, world: World) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and logits of some chunks in order, each made by one process."""
        for first in range(0, len(starts), world.size):
            turn = [start // self.chunk for start in starts[first : first + world.size]]
            if world.size == 1:
                yield self._make(split, inputs, turn[0])
                continue
            mine, failure = self._try_to_make(split, inputs, turn[world.rank : world.rank + 1])
            for source, i in enumerate(turn):
                error = world.broadcast(failure, source)
                if error is not None:
                    raise ProbeError(error)
                pair = mine if source == world.rank else self._empty(split, i)
                assert pair is not None
                pair = (pair[0].contiguous(), pair[1].contiguous())
                world.broadcast_tensors(pair, source)
                yield pair

    def _try_to_make(
        self, split: str, inputs: str, turn: Sequence[int]
    ) -> tuple[tuple[Tensor, Tensor] | None, str | None]:
        """This process's chunk of a turn, where it has one, and what was amiss, for the others do not wait for it."""
        try:
            return (self._make(split, inputs, turn[0]) if turn else None), None
        except FailedError:
            raise
        except Exception as error:
            return None, in_one_line(error)

    def _empty(self, split: str, i: int) -> tuple[Tensor, Tensor]:
        """Room for a chunk that another process makes."""
        x = self.data.splits[split].x
        n = min(self.chunk, len(x) - i * self.chunk)
        return torch.empty((n, *x.shape[1:]), device=self.device), torch.empty((n, self.n_classes), device=self.device)

    def _made(self, split: str, inputs: str, n: int, world: World = ALONE) -> Made:
        """At least the first n samples of a kind of inputs; those that are there already are not made again."""
        key, total = (split, inputs), len(self.data.splits[split])
        made = self._made_inputs.get(key)
        done = 0 if made is None else made.n
        for x, logits in self._chunks(split, inputs, range(done, n, self.chunk), world):
            room = min(-(-n // self.chunk) * self.chunk, total)
            if made is None or len(made.x) < room:
                made = Made.with_room(room, x, logits, made)
            made.add(x, logits)
            self._made_inputs[key] = made
        assert made is not None
        return made

    def _make(self, split: str, inputs: str, i: int) -> tuple[Tensor, Tensor]:
        """The images and logits of the i-th chunk of the split's probe order."""
        part = self.data.splits[split]
        index = part.order[i * self.chunk : (i + 1) * self.chunk]
        x, y = to_float(part.x[index]), part.y[index]
        with isolated(self.model):
            makers = {"adversarial": self.attack, "noisy": self.corruption, "black-box": self.black_box}
            attack = makers.get(inputs)
            if attack is not None:
                x = attack(self.model, x, CrossEntropy(y), generator=self.generator(STREAMS[inputs], split, i))
            with torch.no_grad():
                return x, self.model(x).float()

    def targets(self, view: View) -> Targets:
        """The label mode's targets on a view; the given labels where there is no mode, and outside of training data."""
        if self.labels is None or view.split != "train":
            return Targets(probs=one_hot(view.y, self.n_classes), given=view.y)
        return self.labels.targets(Batch(x=view.x, y=view.y, index=view.index), self.clock)
