"""The nouns that pass between rooms."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

Predict = Callable[[Tensor], Tensor]
"""Images in [0, 1] (B, C, H, W) to logits (B, K)."""


@dataclass(frozen=True)
class Batch:
    """What a training step sees.

    Args:
        x: images in [0, 1], augmented, (B, C, H, W) float.
        y: given labels (B,) int64; with label noise these are the noisy ones.
        index: position of each sample in its split (B,) int64; label memory and masks are looked up by it.
    """

    x: Tensor
    y: Tensor
    index: Tensor


@dataclass(frozen=True)
class Clock:
    """Where training stands.

    Args:
        epoch: completed epochs, so during the first epoch it is 0.
        step: optimiser steps taken in all.
        n_epochs: epochs of the whole run.
        progress: completed epochs with the fraction of the current one, in [0, n_epochs].
    """

    epoch: int
    step: int
    n_epochs: int
    progress: float = 0.0


@dataclass(frozen=True)
class Targets:
    """What a label mode asks the model to predict.

    Args:
        probs: target distribution of each sample (B, K), rows sum to 1.
        given: the given labels (B,) int64.
        given_probs: distribution of the given labels (B, K), where an image has several (mixup).
        consistency: a second distribution (B, K) for a squared consistency term, where the mode has one.
        consistency_weight: weight of that term.
    """

    probs: Tensor
    given: Tensor
    given_probs: Tensor | None = None
    consistency: Tensor | None = None
    consistency_weight: float = 0.0


@dataclass(frozen=True)
class Outputs:
    """Logits (B, K) of one step: on the clean images, on the adversarial ones, or both."""

    clean: Tensor | None = None
    adv: Tensor | None = None

    @property
    def main(self) -> Tensor:
        """The logits that the training loss is taken on: adversarial where there are any, else clean."""
        logits = self.adv if self.adv is not None else self.clean
        if logits is None:
            raise ValueError("outputs hold no logits")
        return logits

    @property
    def both(self) -> tuple[Tensor, Tensor]:
        """The logits on clean and on adversarial images.

        Raises:
            ValueError: there is one kind only.
        """
        if self.clean is None or self.adv is None:
            raise ValueError("this objective needs logits on clean and on adversarial images")
        return self.clean, self.adv


class Images(Protocol):
    """The images of a split: a tensor, or :class:`overfit_lab.data.streamed.StreamedImages` used as one."""

    @property
    def shape(self) -> torch.Size:
        """(N, C, H, W)."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """uint8, or float32 in a monitor's split."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the images are that indexing gives."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, which: Any, /) -> Tensor: ...

    def split(self, n: int, /) -> Iterable[Tensor]:
        """The images in parts of ``n``, in their order."""
        ...


@dataclass(frozen=True)
class Split:
    """One part of a data set, on the device.

    Args:
        name: ``"train"``, ``"val"`` or ``"test"``.
        x: images (N, C, H, W) uint8 in 0..255; a monitor keeps float32 in [0, 1] where bytes would lose something.
            Streamed ones lie in their files and are decoded onto the device where they are asked for.
        y: given labels (N,) int64.
        y_true: labels before any noise (N,) int64.
        corrupted: True where label noise resampled the label (N,) bool, also where it drew the same class again.
        order: a fixed seeded permutation (N,) int64; the first n of it are the split's probe subset of size n.
        n_total: samples of the split where only some of them are kept here; None: all are.
    """

    name: str
    x: Images
    y: Tensor
    y_true: Tensor
    corrupted: Tensor
    order: Tensor
    n_total: int | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return int(self.x.shape[0])

    @property
    def size(self) -> int:
        """Samples of the split, also of those that are not kept here."""
        return len(self) if self.n_total is None else self.n_total


@dataclass(frozen=True)
class Provenance:
    """What of a source was read as what.

    Args:
        read_from: from each split to what of the source it is, in a few words.
        notes: what else was decided in reading it.
    """

    read_from: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """The splits of a data set, the names of its classes and the pixel statistics that a model normalises with.

    Args:
        name: the data set's name, as configured.
        splits: ``"train"`` and ``"test"`` always, ``"val"`` where one was asked for.
        class_names: one name a class.
        mean: mean of each channel in [0, 1] pixels (C,).
        std: standard deviation of each channel (C,).
        provenance: what of the source was read as what.
    """

    name: str
    splits: dict[str, Split]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    provenance: Provenance = Provenance()

    def describe(self) -> str:
        """One line: splits with their sizes and where they are from, classes, images, and what else was decided."""
        origins = self.provenance.read_from
        splits = [
            f"{name} {split.size}{f' from {origins[name]}' if name in origins else ''}"
            for name, split in self.splits.items()
        ]
        names = self.class_names if self.n_classes <= 4 else (*self.class_names[:3], "...", self.class_names[-1])
        shape = "x".join(str(n) for n in self.shape)
        facts = [", ".join(splits), f"{self.n_classes} classes ({', '.join(names)})", f"images {shape}"]
        return f"{self.name}: {'; '.join([*facts, *self.provenance.notes])}"

    @property
    def n_classes(self) -> int:
        """Number of classes K."""
        return len(self.class_names)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image (C, H, W)."""
        c, h, w = self.splits["train"].x.shape[1:]
        return int(c), int(h), int(w)


@dataclass(frozen=True)
class Value:
    """One number of a measurement.

    Args:
        field: what it is; one of the probe's fields, or ``field/part`` for one part of it (a layer, a bin).
        value: the number.
        split: the split that it was computed on, or "" where none was.
        inputs: ``"clean"``, ``"adversarial"`` or "".
        labels: which labels entered it: ``"given"``, ``"true"``, ``"targets"`` (the label mode's) or "".
        n: number of samples that entered it; None where it is not known.
        stderr: standard error, where it is an estimate of a mean over the population or over random probes.
        via: the way to the derivatives in the weights that made it, where there are several; see docs/records.md.
    """

    field: str
    value: float
    split: str = ""
    inputs: str = ""
    labels: str = ""
    n: int | None = 0
    stderr: float | None = None
    via: str = ""


@dataclass(frozen=True)
class Measurement:
    """What one probe measured on one snapshot: numbers, and arrays by name (saved beside the records)."""

    values: list[Value] = field(default_factory=list)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def widened(tensor: Tensor) -> Tensor:
    """The same numbers in float32 where the precision is less."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def to_float(images: Tensor) -> Tensor:
    """uint8 images in 0..255 as float32 in [0, 1]; a copy of floats that are in [0, 1] already."""
    if images.is_floating_point():
        return images.to(torch.float32, copy=True)
    return images.to(torch.float32).div_(255.0)


class Memory:
    """A component that remembers something between steps. Its memory is tensors of fixed shapes, by name."""

    kind = "memory"
    """What the memory is called in messages."""

    def state_dict(self) -> dict[str, Tensor]:
        """The memory: name to tensor; empty where there is none."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            ValueError: names or shapes differ from this component's memory.
        """
        expected = self.state_dict()
        if state.keys() != expected.keys():
            raise ValueError(f"{self.kind} holds {sorted(state)}, expected {sorted(expected)}")
        for name, tensor in state.items():
            if tensor.shape != expected[name].shape:
                raise ValueError(
                    f"{self.kind} {name}: shape {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}"
                )
            expected[name].copy_(tensor)
