"""The estimator that is taken for the trace by itself: exact where that is cheap, never dearer than products."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from overfit_lab.probes.metrics.hessian import auto, exact, hutchinson
from overfit_lab.probes.metrics.hessian.trace import Problem

N = 48


def problem(n_classes, curved=False, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        act = nn.GELU() if curved else nn.ReLU()
        net = nn.Sequential(nn.Conv2d(1, 4, 3), act, nn.Flatten(), nn.Linear(64, n_classes)).eval()
        x, y = torch.rand(N, 1, 6, 6), torch.randint(n_classes, (N,))
    stream = torch.Generator().manual_seed(1)
    return Problem(net, x, y, N, stream, linear=(not curved, ""), **options)


def arithmetic(estimate, case):
    with FlopCounterMode(display=False) as counter:
        trace = estimate(case)
    return trace, counter.get_total_flops()


@pytest.mark.parametrize("n_classes", [2, 10, 61, 100, 1000])
def test_the_trace_is_never_dearer_than_by_hessian_products(n_classes):
    """At 1,000 classes it took 22 times as long."""
    trace, flops = arithmetic(auto.estimate, problem(n_classes))
    most, by_products = arithmetic(hutchinson.estimate, problem(n_classes, tolerance=0))
    assert most.n_vectors == 30
    assert flops <= 1.1 * by_products
    assert (trace.n_vectors == 0) == (n_classes <= 61)


@pytest.mark.parametrize("n_classes", [2, 10, 61])
def test_with_few_classes_it_is_the_exact_trace_to_the_bit(n_classes):
    assert auto.estimate(problem(n_classes)) == exact.estimate(problem(n_classes))
    assert auto.estimate(problem(10, max_vectors=2)) == exact.estimate(problem(10))


def test_with_many_classes_it_is_within_the_tolerance_of_the_exact_trace_and_its_error_covers_that():
    truth = exact.estimate(problem(100))
    for seed in range(20):
        case = problem(100)
        case.generator.manual_seed(seed)
        found = auto.estimate(case)
        assert found.n_vectors == 17, "2 / (48 samples * 0.05^2), rounded up"
        assert abs(found.value - truth.value) <= 0.05 * truth.value
        assert found.stderr >= 0.9 * truth.stderr
        assert found.over == "samples"


def test_who_asks_for_every_digit_gets_it_and_who_asks_for_more_vectors_too():
    assert auto.estimate(problem(100, tolerance=0)) == exact.estimate(problem(100))
    assert auto.estimate(problem(100, output_vectors=40)).n_vectors == 40
    assert auto.estimate(problem(100, tolerance=0.001)).n_vectors == 0, "more vectors than columns"


def test_a_curved_network_has_hutchinsons_trace():
    assert auto.estimate(problem(100, curved=True)) == hutchinson.estimate(problem(100, curved=True))
