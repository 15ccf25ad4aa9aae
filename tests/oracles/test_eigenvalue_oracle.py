"""How often the largest eigenvalue is missed, over random starts, and what the residual bounds for certain."""

import numpy as np
import pytest
import torch

from overfit_lab.probes.metrics.hessian import hessian_product, top_eigenvalues, trainable

TOLERANCE = 0.01
N, STARTS = 300, 40


def spectrum(kind):
    """Close eigenvalues at the top: two, ten, of opposite signs, a bulk that reaches up to them, a slow decay."""
    rng = np.random.default_rng(0)
    values = {
        "two": np.r_[1, 0.97, rng.uniform(0, 0.3, N - 2)],
        "ten": np.r_[1 - 0.02 * np.arange(10), rng.exponential(0.05, N - 10).clip(0, 0.7)],
        "opposite": np.r_[1, -0.97, rng.uniform(-0.3, 0.3, N - 2)],
        "bulk": np.r_[1, rng.uniform(-0.5, 0.98, N - 1)],
        "decay": 0.95 ** np.arange(N),
    }
    return values[kind]


def of_spectrum(values):
    entries = torch.from_numpy(values)
    return lambda v: [entries * v[0]], [entries]


KINDS = ("two", "ten", "opposite", "bulk", "decay")


def test_the_largest_of_close_eigenvalues_is_within_the_tolerance_in_99_of_100_starts():
    """It was missed in 45 of 100: another eigenvalue had converged, and the largest one was not yet a Ritz value."""
    missed = 0
    for kind in KINDS:
        values = spectrum(kind)
        product, like = of_spectrum(values)
        for seed in range(STARTS):
            stream = torch.Generator().manual_seed(seed)
            (top,) = top_eigenvalues(product, like, 1, generator=stream, tolerance=TOLERANCE)
            missed += abs(top.value) < (1 - TOLERANCE) * abs(values).max()
            assert abs(top.value) <= abs(values).max() * (1 + 1e-9)
            assert abs(values - top.value).min() <= top.residual + 1e-9
    assert missed <= 7, "of 200, at a rate of 1% at most; more with a probability of 0.1%"


@pytest.mark.parametrize("kind", KINDS)
def test_further_eigenvalues_keep_to_the_tolerance_and_their_residuals(kind):
    values = spectrum(kind)
    by_magnitude = abs(values)[np.argsort(-abs(values))]
    product, like = of_spectrum(values)
    for seed in range(5):
        found = top_eigenvalues(product, like, 3, generator=torch.Generator().manual_seed(seed), tolerance=0.002)
        for rank, each in enumerate(found):
            assert by_magnitude[rank] - 0.002 * by_magnitude[0] <= abs(each.value) * (1 + 1e-9)
            assert abs(each.value) <= by_magnitude[rank] * (1 + 1e-9)
            assert abs(values - each.value).min() <= each.residual + 1e-9


def test_of_a_network_too():
    """A layer at its random beginning, whose largest eigenvalues are a few percent apart."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10))
    net = net.double()
    x, y = torch.rand(60, 3, 2, 2, generator=torch.Generator().manual_seed(1)).double(), torch.arange(60) % 10
    product, like = hessian_product(net, x, y, 60), trainable(net)
    (truth,) = top_eigenvalues(product, like, 1, generator=torch.Generator().manual_seed(0), tolerance=1e-9)
    found = [
        top_eigenvalues(product, like, 1, generator=torch.Generator().manual_seed(seed), tolerance=TOLERANCE)[0].value
        for seed in range(1, 31)
    ]
    assert sum(abs(value) < (1 - TOLERANCE) * abs(truth.value) for value in found) <= 2
