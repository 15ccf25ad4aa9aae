"""Every probe on every network of the zoo: right, or refused in one line at the start; and never a trace."""

import contextlib
import os
import re
import warnings
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from overfit_lab.config.catalog import PROBES
from overfit_lab.config.options import parse_options
from overfit_lab.methods.attacks.losses import CrossEntropy
from overfit_lab.methods.attacks.pgd import PGD
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.models.adapt import Adapter
from overfit_lab.models.isolation import nothing_recomputed
from overfit_lab.monitor.monitor import Monitor
from overfit_lab.probes.base import run_probe
from zoo.holdings import bits, differences, holdings
from zoo.networks import BFLOAT16, ZOO
from zoo.oracle import bare
from zoo.outcomes import (
    ROUNDS,
    SEARCHES,
    VIEW,
    Start,
    begun,
    cells_of,
    images,
    logits_of,
    oracle_of,
    own_images,
    quick_cells_of,
    report,
    run_round,
    take_a_step,
)
from zoo.page_rows import BEGIN, row

PAGE = (Path(__file__).parents[2] / "docs" / "monitor.md").read_text(encoding="utf-8")
WHOLE = os.environ.get("OVERFIT_LAB_ZOO") == "whole"
"""``make zoo`` sets it: a monitor of its own for every round on every network, and all of what is dealt out here."""
PLACE = {name: place for place, name in enumerate(ZOO)}
REFUSED = {"all-frozen", "gives-tuple", "lazy-uninitialised", "mixes-mean", "mixes-norm", "random"}
networks = pytest.mark.parametrize("name", list(ZOO))


def dealt(name, rounds):
    """The first round, and every third of those after it."""
    first, *others = rounds
    return {first: rounds[first]} | {key: rounds[key] for i, key in enumerate(others) if (i + PLACE[name]) % 3 == 0}


@networks
def test_every_probe_is_right_or_refused_at_the_start(name):
    cells = cells_of(ZOO[name]) if WHOLE else quick_cells_of(ZOO[name], dealt(name, ROUNDS))
    bad = [cell for cell in cells if not cell.is_good]
    assert not bad, "\n" + "\n".join(report(bad))


@pytest.mark.parametrize("name", [name for name in ZOO if WHOLE or PLACE[name] % 6 == 0])
def test_searches_and_maps_leave_no_trace(name):
    bad = [cell for cell in run_round(ZOO[name], "searches", SEARCHES) if not cell.is_good]
    assert not bad, "\n" + "\n".join(report(bad))


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_has_no_number_is_refused(name):
    probes = ("gradient-norm", "hessian")
    cells = [cell for cell in run_round(ZOO[name], "first", ROUNDS["first"]) if cell.probe in probes]
    assert {cell.outcome for cell in cells} == {"refused"}, report(cells)


@pytest.mark.parametrize("name", [name for name in ZOO if WHOLE or PLACE[name] % 3 == 0])
def test_no_trace_when_a_pass_fails(name):
    network = ZOO[name]
    start, _ = begun(network, "first", ROUNDS["first"])
    if not start.accepted:
        return
    with warnings.catch_warnings(), start.monitor.adapted():
        warnings.simplefilter("ignore")
        snapshot = start.monitor.snapshot()
        snapshot.view("train", "adversarial")
        for label in ("first", "second", "fourth"):
            for probe, options in ROUNDS[label].items():
                if probe in start.accepted:
                    left = left_by_failure(PROBES[probe], probe, options, snapshot)
                    assert not left, f"{label}: {probe} leaves {'; '.join(left)}"


def left_by_failure(kind, probe, options, snapshot):
    """What differs after a measurement whose third forward pass raises."""
    calls = iter((False, False))

    def fail(*_):
        if next(calls, True):
            raise RuntimeError("broken")

    model = snapshot.model
    handle = model.register_forward_hook(fail)
    before = holdings(model)
    with contextlib.suppress(Exception):
        run_probe(kind(parse_options(kind, {**VIEW, **options}, prefix=probe)), snapshot)
    left = differences(before, holdings(model))
    handle.remove()
    return left


CHEAP = {
    "gradient-norm": {},
    "iiw": {},
    "hessian": {"max_probes": 2, "eigenvalue_tolerance": 0.5},
    "calibration": {},
    "confidence": {},
    "memorisation": {},
    "features": {"tsne": "never"},
    "logit-geometry": {"n_steps": 1, "n_bisections": 1},
}
STEPS, EVERY = 20, 5
NOT_WATCHED = {"changes-images", "gives-tuple", "lazy-uninitialised", "mixes-mean", "mixes-norm", "random"}
"""A monitor may refuse these as they are."""


@pytest.mark.parametrize("name", [name for name in ZOO if WHOLE or PLACE[name] % 8 == 3])
def test_training_is_the_same_to_the_bit_with_probes(name):
    network = ZOO[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        probes = {key: options for key, options in CHEAP.items() if key != "features" or network.penultimate}
        accepted = Start(network, probes, watching).accepted
        assert accepted or name in NOT_WATCHED
        if accepted:
            assert trained(network, None) == trained(network, accepted)


def trained(network, probes):
    """The bits of each step's gradients, and of weights, buffers and optimiser state at the end."""
    model, (_, y, *_) = network.make(), images()
    x = own_images(network, model)
    monitor = watching(network, model, probes) if probes is not None else None
    weights = [p for p in model.parameters() if p.requires_grad] or [torch.nn.Parameter(torch.zeros(1))]
    adam = PLACE[network.name] % 16 == 3
    optimizer = torch.optim.AdamW(weights) if adam else torch.optim.SGD(weights, lr=0.05, momentum=0.9)
    found = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        model.train()
        for step in range(STEPS):
            batch = torch.randperm(len(y))[:5]
            optimizer.zero_grad()
            loss = functional.cross_entropy(logits_of(network, model, x[batch].clone()).float(), y[batch])
            if loss.requires_grad:
                loss.backward()
            found.append([bits(p.grad) for p in weights if p.grad is not None])
            if monitor is not None:
                monitor.gradients_ready(loss)
            optimizer.step()
            if monitor is not None and (step + 1) % EVERY == 0:
                monitor.epoch_ended()
        found.append(bits(torch.get_rng_state()))
    inner = bare(model)
    found.append([bits(t) for t in (*inner.parameters(), *inner.buffers())])
    state = [value for entry in optimizer.state.values() for value in entry.values()]
    found.append([bits(value) for value in state if isinstance(value, torch.Tensor)])
    return found


def watching(network, model, probes):
    x, y, *_ = images()
    return Monitor(
        model,
        (x, y),
        probes=list(probes),
        options={name: {**options, "n": 6, "splits": ["train"]} for name, options in probes.items()},
        attack=PGD(ThreatModel("linf", eps=0.05), step_size=0.05, n_steps=1),
        n=6,
        penultimate=network.penultimate,
        adapter=Adapter(output=network.output),
        strict=True,
    )


@networks
def test_an_attack_climbs_on_the_network_itself(name):
    """A step along the sign of the gradient that the plain network has, wherever that is not nearly zero."""
    network = ZOO[name]
    if name in NOT_WATCHED:
        return
    with warnings.catch_warnings(), nothing_recomputed():
        warnings.simplefilter("ignore")
        model = bare(take_a_step(network, network.make())).eval()
        x, y = own_images(network, model), images()[1]
        leaf = x.clone().requires_grad_()
        functional.cross_entropy(logits_of(network, model, leaf).float(), y, reduction="sum").backward()
        attack = PGD(ThreatModel("linf", eps=0.05), step_size=0.05, n_steps=1, random_start=False)
        with Adapter(output=network.output).applied(model):
            given = x.float() if x.dtype == torch.bfloat16 else x
            found = attack(model, given, CrossEntropy(y), generator=torch.Generator())
    gradient = torch.zeros_like(x) if leaf.grad is None else leaf.grad
    large = gradient.abs() >= (0.1 if network.tolerance == BFLOAT16 else 1e-3) * gradient.abs().max()
    wanted = (x + 0.05 * gradient.sign()).clamp(0, 1)
    assert torch.allclose(found[large].float(), wanted[large].float(), atol=1e-2 if x.dtype == torch.bfloat16 else 1e-6)


@pytest.mark.parametrize(
    "name", [n for n, one in ZOO.items() if one.smooth_gradient and n not in REFUSED | {"not-finite"}]
)
def test_the_oracle_agrees_with_finite_differences(name):
    network, step = ZOO[name], 1e-6
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        oracle = oracle_of(network)
        moved = oracle.moves(list(oracle.displacement))
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                for key, p in oracle.twin.named_parameters():
                    p += sign * step * oracle.displacement[key]
                sides.append(oracle.logits_of(oracle.x))
                for key, p in oracle.twin.named_parameters():
                    p -= sign * step * oracle.displacement[key]
    slope = (sides[0] - sides[1]) / (2 * step)
    tolerance = 3e-2 if network.tolerance == BFLOAT16 else 1e-5
    assert (slope - moved).norm() <= tolerance * moved.norm() + 1e-9


@pytest.mark.parametrize("name", [name for name in ZOO if PLACE[name] % 32 == 5])
def test_the_table_says_what_is_measured(name):
    """A slice; ``make zoo`` compares the whole."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        notes = {reason: int(number) for number, reason in re.findall(r"^(\d+)\. (.+)$", PAGE.split(BEGIN)[1], re.M)}
        assert row(name, notes) in PAGE.splitlines(), "run python docs/draw_zoo.py"
