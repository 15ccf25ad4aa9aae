"""Products of the Hessian, and of the generalised Gauss-Newton matrix, with vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from overfit_lab.probes.metrics.directional import logit_motion
from overfit_lab.probes.metrics.layers import trainable_by_name
from overfit_lab.probes.metrics.pieces import images_per_pass

Product = Callable[[Sequence[Tensor]], list[Tensor]]
"""v to H v, as lists of tensors with the shapes of the weights. May have ``many``, for stacked vectors."""


def trainable(model: nn.Module) -> list[Tensor]:
    """The parameters that the Hessian is taken with respect to.

    Raises:
        ProbeError: there is none.
    """
    return list(trainable_by_name(model).values())


def many(product: Product, vectors: Sequence[Tensor]) -> list[Tensor]:
    """Products with stacked vectors [(m, ...)]: together where the product knows how, else one by one."""
    together: Product | None = getattr(product, "many", None)
    if together is not None:
        return together(vectors)
    images = [product([t[j] for t in vectors]) for j in range(len(vectors[0]))]
    return [torch.stack(pieces) for pieces in zip(*images, strict=True)]


class _ByChunks(ABC):
    """A product that is a mean over samples, chunk by chunk."""

    def __init__(self, model: nn.Module, x: Tensor, y: Tensor, batch_size: int) -> None:
        self.model, self.x, self.y, self.batch_size = model, x, y, images_per_pass(x.device, batch_size)
        self.names = list(trainable_by_name(model))
        self.parameters = trainable(model)

    def __call__(self, vector: Sequence[Tensor]) -> list[Tensor]:
        """The product with one vector."""
        return [t[0] for t in self.many([v.unsqueeze(0) for v in vector])]

    def many(self, vectors: Sequence[Tensor]) -> list[Tensor]:
        """Products with m stacked vectors [(m, ...)], which share what does not depend on them."""
        total = [torch.zeros_like(v) for v in vectors]
        for part, labels in zip(self.x.split(self.batch_size), self.y.split(self.batch_size), strict=True):
            self.add(part, labels, vectors, total)
        return [entry / len(self.x) for entry in total]

    @abstractmethod
    def add(self, x: Tensor, y: Tensor, vectors: Sequence[Tensor], total: list[Tensor]) -> None:
        """Add a chunk's sum of products to ``total``."""


class _Hessian(_ByChunks):
    def add(self, x: Tensor, y: Tensor, vectors: Sequence[Tensor], total: list[Tensor]) -> None:
        with torch.enable_grad():
            loss = functional.cross_entropy(self.model(x).to(self.parameters[0].dtype), y, reduction="sum")
            gradients = torch.autograd.grad(loss, self.parameters, create_graph=True, materialize_grads=True)
        live = [i for i, g in enumerate(gradients) if g.requires_grad]
        if not live:
            return
        for j in range(len(vectors[0])):
            second = torch.autograd.grad(
                [gradients[i] for i in live],
                self.parameters,
                [vectors[i][j].to(gradients[i]) for i in live],
                retain_graph=j + 1 < len(vectors[0]),
                materialize_grads=True,
            )
            for entry, value in zip(total, second, strict=True):
                entry[j] += value.detach()  # zeros for an unused weight require gradients in older torch


class _Ggn(_ByChunks):
    def add(self, x: Tensor, y: Tensor, vectors: Sequence[Tensor], total: list[Tensor]) -> None:
        with torch.enable_grad():
            logits = self.model(x)
        if not logits.requires_grad:
            return
        p = torch.softmax(logits.detach(), dim=1)
        for j in range(len(vectors[0])):
            direction = {name: v[j] for name, v in zip(self.names, vectors, strict=True)}
            _, motion = logit_motion(self.model, x, direction)
            _, moved = motion(x)
            pulled = p * (moved - (p * moved).sum(dim=1, keepdim=True))
            second = torch.autograd.grad(
                logits, self.parameters, pulled, retain_graph=j + 1 < len(vectors[0]), materialize_grads=True
            )
            for entry, value in zip(total, second, strict=True):
                entry[j] += value.detach()  # zeros for an unused weight require gradients in older torch


def hessian_product(model: nn.Module, x: Tensor, y: Tensor, batch_size: int) -> Product:
    """A function v to H v, H the Hessian of the mean cross entropy over the set at fixed inputs.

    Parameters that the loss does not depend on have zero rows. ``product.many`` takes stacked vectors. Images
    (n, C, H, W) are constants; ``batch_size`` of them a pass bound the memory.

    Cost of one product: about two forward and backward passes over x; of m at once: one forward and backward pass, and
    m backward passes through both.
    """
    return _Hessian(model, x, y, batch_size)


def ggn_product(model: nn.Module, x: Tensor, y: Tensor, batch_size: int) -> Product:
    """A function v to G v, G = mean_i J_i^T (diag p_i - p_i p_i^T) J_i the generalised Gauss-Newton matrix.

    It is the Hessian without the curvature of the network itself (Schraudolph 2002), positive semi-definite, and for
    cross entropy the expected Fisher information. Labels enter by their shape alone.

    Cost of one product: one forward-mode product (three forwards' arithmetic) and one backward pass; the forward pass
    of the backward is shared by stacked vectors.
    """
    return _Ggn(model, x, y, batch_size)
