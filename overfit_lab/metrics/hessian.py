"""Curvature of the loss: trace and largest eigenvalue of the Hessian with respect to the weights."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from overfit_lab.errors import ProbeError
from overfit_lab.metrics.layers import trainable_by_name
from overfit_lab.seeds import private_streams

Product = Callable[[Sequence[Tensor]], list[Tensor]]


@dataclass(frozen=True)
class Trace:
    """An estimated trace, its standard error over random vectors, and how many vectors were drawn."""

    value: float
    stderr: float | None
    n_vectors: int


def trainable(model: nn.Module) -> list[Tensor]:
    """The parameters that the Hessian is taken with respect to.

    Raises:
        ProbeError: there is none.
    """
    return list(trainable_by_name(model).values())


def hessian_product(model: nn.Module, x: Tensor, y: Tensor, batch_size: int) -> Product:
    """A function v to H v, H the Hessian of the mean cross entropy over the set at fixed inputs.

    Parameters that the loss does not depend on have zero rows.

    Args:
        model: in eval mode; its gradients are not touched.
        x: images (n, C, H, W), clean or adversarial; they are constants here.
        y: labels (n,).
        batch_size: images per pass, which bounds the memory.

    Cost of one product: about two forward and backward passes over x.
    """
    parameters = trainable(model)

    def product(vector: Sequence[Tensor]) -> list[Tensor]:
        total = [torch.zeros_like(p) for p in parameters]
        for part, labels in zip(x.split(batch_size), y.split(batch_size), strict=True):
            with torch.enable_grad():
                loss = functional.cross_entropy(model(part).to(parameters[0].dtype), labels, reduction="sum")
                gradients = torch.autograd.grad(loss, parameters, create_graph=True, materialize_grads=True)
                slope = torch.stack([(g * v).sum() for g, v in zip(gradients, vector, strict=True)]).sum()
            if not slope.requires_grad:
                continue
            second = torch.autograd.grad(slope, parameters, materialize_grads=True)
            for entry, value in zip(total, second, strict=True):
                entry += value.detach()
        return [entry / len(x) for entry in total]

    return product


def hutchinson_trace(
    product: Product,
    like: Sequence[Tensor],
    *,
    generator: torch.Generator,
    max_vectors: int = 30,
    min_vectors: int = 5,
    tolerance: float = 0.05,
) -> Trace:
    """Tr H as the mean of v^T H v over random signs v (Hutchinson 1990); unbiased.

    Stops once the standard error is below ``tolerance`` of the estimate, which makes the stated error slightly too
    small; with ``tolerance=0`` it draws all vectors.

    Args:
        product: v to H v.
        like: tensors of the shapes of v.
        generator: random stream on their device.
        max_vectors: most vectors drawn.
        min_vectors: least vectors drawn.
        tolerance: relative standard error that is enough.

    Cost: one product a vector.
    """
    samples: list[float] = []
    for _ in range(max_vectors):
        vector = [random_signs(t, generator) for t in like]
        image = product(vector)
        samples.append(sum((v.double() * h.double()).sum().item() for v, h in zip(vector, image, strict=True)))
        if len(samples) >= max(min_vectors, 2) and tolerance > 0:
            mean, stderr = _mean_and_stderr(samples)
            if stderr <= tolerance * abs(mean):
                break
    mean, stderr = _mean_and_stderr(samples)
    return Trace(mean, stderr if len(samples) > 1 else None, len(samples))


def random_signs(like: Tensor, generator: torch.Generator) -> Tensor:
    """Independent entries +1 or -1 of a tensor's shape, kind and device."""
    bits = torch.randint(2, like.shape, generator=generator, device=like.device)
    return (2 * bits - 1).to(like.dtype)


def _mean_and_stderr(samples: Sequence[float]) -> tuple[float, float]:
    values = np.asarray(samples)
    if len(values) < 2:
        return float(values.mean()), math.inf
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))


def top_eigenvalue(
    product: Product, like: Sequence[Tensor], *, generator: torch.Generator, tolerance: float = 1e-3
) -> float:
    """The eigenvalue of H of largest magnitude, by Lanczos iteration (scipy's eigsh); NaN where H is not finite.

    Args:
        product: v to H v.
        like: tensors of the shapes of v.
        generator: random stream of the starting vector.
        tolerance: relative accuracy.

    Raises:
        ProbeError: no convergence.

    Cost: about 10 to 20 products.
    """
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    sizes = [t.numel() for t in like]
    first = like[0]

    def flat_product(flat: np.ndarray) -> np.ndarray:
        pieces = torch.as_tensor(np.ravel(flat)).to(first).split(sizes)
        image = product([piece.view_as(t) for piece, t in zip(pieces, like, strict=True)])
        return np.asarray(torch.cat([h.reshape(-1) for h in image]).double().cpu().numpy())

    size = sum(sizes)
    start = torch.randn(size, generator=generator, device=first.device).double().cpu().numpy()
    image = flat_product(start)
    if not np.all(np.isfinite(image)):
        return math.nan
    if not np.any(image):
        return 0.0
    if size < 3:
        dense = np.stack([flat_product(row) for row in np.eye(size)])
        values = np.linalg.eigvalsh((dense + dense.T) / 2)
        return float(values[np.argmax(np.abs(values))])
    operator = LinearOperator((size, size), matvec=flat_product, dtype=np.float64)
    try:
        values = eigsh(operator, k=1, which="LM", v0=start, tol=tolerance, maxiter=300, return_eigenvectors=False)
    except ArpackNoConvergence as error:
        raise ProbeError("hessian: Lanczos iteration for the largest eigenvalue did not converge") from error
    return float(values[0])


def pyhessian_summary(
    model: nn.Module, x: Tensor, y: Tensor, *, seed: int, max_vectors: int = 30, tolerance: float = 0.05
) -> tuple[Trace, float]:
    """Trace and top eigenvalue by PyHessian (Yao et al. 2020, arXiv 1912.07145), as a cross-check.

    PyHessian works on a copy here: it leaves gradients filled and the mode changed, and draws from the global random
    stream. Its ``tolerance`` compares running means and bounds no error; the standard error is ours, from its samples.

    Raises:
        ProbeError: the loss does not depend on some parameter, on which PyHessian fails.
    """
    from pyhessian import hessian

    twin = copy.deepcopy(model)
    with torch.enable_grad():
        loss = functional.cross_entropy(twin(x[:2]).float(), y[:2])
    gradients = torch.autograd.grad(loss, trainable(twin), allow_unused=True)
    if any(g is None for g in gradients):
        raise ProbeError("hessian: PyHessian fails on a model with an unused parameter; use estimator hutchinson")
    with private_streams(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine = hessian(twin, nn.CrossEntropyLoss(), data=(x, y), cuda=x.is_cuda)
        samples = [float(value) for value in engine.trace(maxIter=max_vectors, tol=tolerance)]
        eigenvalues, _ = engine.eigenvalues(top_n=1)
    mean, stderr = _mean_and_stderr(samples)
    return Trace(mean, stderr if len(samples) > 1 else None, len(samples)), float(eigenvalues[0])
