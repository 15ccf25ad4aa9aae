"""What one pass of a network costs: arithmetic, operations and memory, found on tensors without storage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from overfit_lab.config import Part
from overfit_lab.models.compute.memory import PeakBytes
from overfit_lab.models.factory import build_model
from overfit_lab.sweeps.cost.data_shape import DataShape
from overfit_lab.types import Dataset, Split

KINDS = ("forward", "to_input", "to_weights")
BATCH = 2


class Work(TorchDispatchMode):
    """Counts the floating-point operations of convolutions and matrix products, and the calls of any operation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count it."""
        result = func(*args, **(kwargs or {}))
        self.calls += 1
        if func._overloadpacket in flop_registry:
            self.flops += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=result)
        return result


@dataclass(frozen=True)
class Network:
    """The network of a run without its numbers.

    Args:
        model: on the meta device, in train mode.
        shape: its data.
        flops: of one image by kind of pass: ``forward``, ``to_input`` (backward to the image alone, weights frozen),
            ``to_weights`` (backward to the weights); a multiply and an add count as two.
        calls: operations of a pass of a batch, by kind.
        parameters: shapes of trainable parameters by name.
        state_bytes: bytes of parameters and saved buffers, by name.
    """

    model: nn.Module
    shape: DataShape
    flops: Mapping[str, int]
    calls: Mapping[str, int]
    parameters: Mapping[str, tuple[int, ...]]
    state_bytes: Mapping[str, int]
    _peaks: dict[tuple[str, int, int], int] = field(default_factory=dict, repr=False)

    @property
    def n_parameters(self) -> int:
        """Trainable numbers."""
        return sum(torch.Size(shape).numel() for shape in self.parameters.values())

    @property
    def weight_bytes(self) -> int:
        """Bytes of the trainable parameters in float32."""
        return 4 * self.n_parameters

    @property
    def norm(self) -> bool:
        """Whether there is batch norm."""
        return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in self.model.modules())

    def peak_of_update(self, batch_size: int, graphs: int = 1) -> int:
        """Most bytes of new tensors in the forward and backward passes of an update, the weights' gradients among them.

        Args:
            batch_size: images a pass.
            graphs: passes whose activations are kept until the backward pass.
        """
        return self._once("update", batch_size, graphs)

    def peak_of_attack(self, batch_size: int) -> int:
        """Most bytes of new tensors in one step of an attack: forward pass and backward pass to the images."""
        return self._once("attack", batch_size, 1)

    def _once(self, what: str, batch_size: int, graphs: int) -> int:
        key = (what, batch_size, graphs)
        if key not in self._peaks:
            found = self._update(batch_size, graphs) if what == "update" else self._attack(batch_size)
            self._peaks[key] = found
        return self._peaks[key]

    def _update(self, batch_size: int, graphs: int) -> int:
        x, y = _batch(self.model, self.shape, batch_size)
        self.model.train().requires_grad_(True)
        with PeakBytes() as count:
            losses = [functional.cross_entropy(self.model(x).float(), y) for _ in range(graphs)]
            torch.stack(losses).sum().backward()
        self.model.zero_grad(set_to_none=True)
        return count.peak

    def _attack(self, batch_size: int) -> int:
        x, y = _batch(self.model, self.shape, batch_size)
        self.model.eval().requires_grad_(False)
        x.requires_grad_(True)
        with PeakBytes() as count:
            loss = functional.cross_entropy(self.model(x).float(), y, reduction="sum")
            torch.autograd.grad(loss, x)
        return count.peak


def network_of(part: Part, shape: DataShape, *, device: str = "meta") -> Network:
    """The network that a configuration names.

    Args:
        part: the model, complete.
        shape: the data that it is for.
        device: where passes are counted; a model that needs numbers on its way is counted on the CPU.

    Raises:
        ConfigError: see :func:`overfit_lab.models.factory.build_model`.

    Cost: the network drawn once, and a forward pass of two images.
    """
    model = build_model(part, _images(shape), torch.device("cpu"), seed=0)
    state = {name: t.nbytes for name, t in model.state_dict().items()}
    trained = {name: tuple(p.shape) for name, p in model.named_parameters() if p.requires_grad}
    try:
        flops, calls = _counted(model.to(device), shape)
    except (RuntimeError, NotImplementedError):
        if device == "cpu":
            raise
        model = build_model(part, _images(shape), torch.device("cpu"), seed=0)
        flops, calls = _counted(model, shape)
    return Network(model, shape, flops, calls, trained, state)


def _counted(model: nn.Module, shape: DataShape) -> tuple[dict[str, int], dict[str, int]]:
    x, y = _batch(model, shape, BATCH)
    model.train().requires_grad_(True)
    with Work() as count:
        loss = functional.cross_entropy(model(x).float(), y)
        forward = count.flops, count.calls
        loss.backward()
    to_weights = count.flops - forward[0], count.calls - forward[1]
    model.zero_grad(set_to_none=True)
    model.eval().requires_grad_(False)
    x.requires_grad_(True)
    with Work() as count:
        loss = functional.cross_entropy(model(x).float(), y)
        before = count.flops, count.calls
        torch.autograd.grad(loss, x, allow_unused=True)
    to_input = count.flops - before[0], count.calls - before[1]
    model.train().requires_grad_(True)
    found = (forward, to_input, to_weights)
    flops = {kind: work // BATCH for kind, (work, _) in zip(KINDS, found, strict=True)}
    return flops, {kind: n for kind, (_, n) in zip(KINDS, found, strict=True)}


def _batch(model: nn.Module, shape: DataShape, n: int) -> tuple[Tensor, Tensor]:
    device = next(model.parameters()).device
    return torch.zeros(n, *shape.shape, device=device), torch.zeros(n, dtype=torch.int64, device=device)


def _images(shape: DataShape) -> Dataset:
    """Two images, since a network is only tried on them."""
    x, y = torch.zeros(2, *shape.shape, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)
    split = Split("train", x, y, y, torch.zeros(2, dtype=torch.bool), torch.arange(2))
    c = shape.shape[0]
    names = tuple(map(str, range(shape.n_classes)))
    return Dataset("images", {"train": split}, names, (0.0,) * c, (1.0,) * c)
