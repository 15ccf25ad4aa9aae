"""Black-box inputs of a snapshot: random search in the ball, the same in every run, and without a trace."""

import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional

from factories import arrays, awkward_model, informed_model, make_snapshot
from overfit_lab.config import AttackConfig, EvaluationConfig
from overfit_lab.config.catalog import PROBES
from overfit_lab.errors import ProbeError
from overfit_lab.methods.attacks.autoattack import Square
from overfit_lab.methods.attacks.losses import CrossEntropy, Margin
from overfit_lab.methods.attacks.pgd import PGD
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.monitor.monitor import Monitor
from overfit_lab.probes.base import run_probe
from overfit_lab.seeds import derive_generator
from overfit_lab.training.parts import build_black_box


def black_box_snapshot(model=None, *, norm="linf", eps=0.1, seed=0, n_queries=15):
    square = Square(ThreatModel(norm, eps), n_queries=n_queries)
    return replace(make_snapshot(model), black_box=square, seed=seed)


def hits(view):
    return view.logits.argmax(dim=1) == view.y


def margins(view):
    return Margin(view.y)(view.logits)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 1.0)])
def test_they_lie_in_the_ball_and_do_harm(norm, eps):
    snapshot = black_box_snapshot(informed_model(), norm=norm, eps=eps, n_queries=40)
    clean, found = snapshot.view("test", "clean"), snapshot.view("test", "black-box")
    size = (found.x - clean.x).flatten(1)
    size = size.abs().amax(dim=1) if norm == "linf" else size.norm(dim=1)
    assert (size <= eps + 1e-5).all()
    assert ((found.x >= 0) & (found.x <= 1)).all()
    right = hits(clean)
    assert not hits(found)[~right].any()
    assert hits(found).sum() < right.sum()
    assert torch.equal(found.x[~right], clean.x[~right])
    assert (size[right] > 0).any()
    losses = [functional.cross_entropy(v.logits, v.y, reduction="none")[right] for v in (clean, found)]
    assert losses[1].mean() > losses[0].mean()


def test_more_queries_do_no_less_harm():
    """Sample by sample among those that stay right; and not the same as the first draw alone."""
    model = informed_model()
    views = [black_box_snapshot(model, eps=0.05, n_queries=n).view("test", "black-box") for n in (1, 5, 40)]
    for few, more in pairwise(views):
        right = hits(more)
        assert hits(few)[right].all()
        assert (margins(more)[right] >= margins(few)[right] - 1e-5).all()
    assert margins(views[-1]).mean() > margins(views[0]).mean() + 1e-3


def test_they_are_those_of_square_on_each_chunk_with_a_stream_of_its_own():
    snapshot = black_box_snapshot()
    clean, found = snapshot.view("test", "clean"), snapshot.view("test", "black-box")
    model = awkward_model().eval()
    for i in range(3):
        part = slice(16 * i, 16 * (i + 1))
        stream = derive_generator(0, "evaluation-black-box", "test", i, 3)
        own = snapshot.black_box(model, clean.x[part], CrossEntropy(clean.y[part]), generator=stream)
        assert torch.equal(own, found.x[part])
    assert torch.equal(model(found.x), found.logits)


def test_no_gradient_is_taken():
    model = awkward_model()
    model.conv.register_full_backward_pre_hook(lambda *_: pytest.fail("a gradient was taken"))
    seen = []
    model.conv.register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    black_box_snapshot(model).view("test", "black-box")
    assert seen
    assert not any(seen)


def test_they_repeat_to_the_bit_and_depend_on_the_seed():
    def images(**changes):
        return black_box_snapshot(**changes).view("test", "black-box").x

    first = images()
    torch.rand(5)
    np.random.rand(5)
    assert torch.equal(images(), first)
    assert not torch.equal(images(seed=1), first)
    later = black_box_snapshot()
    for other in ("adversarial", "clean"):
        later.view("test", other)
    assert torch.equal(later.view("test", "black-box", 7).x, first[:7])


def test_measuring_them_leaves_no_trace():
    model = awkward_model().train()
    model(torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))).sum().backward()

    def trace():
        weights = {**model.state_dict(), **{f"{name} grad": p.grad for name, p in model.named_parameters()}}
        streams = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
        switches = ([p.requires_grad for p in model.parameters()], [m.training for m in model.modules()])
        return {k: None if v is None else v.clone() for k, v in weights.items()}, (streams, switches)

    tensors, rest = trace()
    probe = PROBES["calibration"](PROBES["calibration"].Options(n=20, inputs=("black-box",)))
    found, _ = run_probe(probe, black_box_snapshot(model))
    assert {value.inputs for value in found.values} == {"black-box"}
    after, rest_after = trace()
    assert rest_after == rest
    for name, value in tensors.items():
        assert (value is None and after[name] is None) or torch.equal(value, after[name]), name


def test_without_such_an_attack_they_are_refused():
    snapshot = make_snapshot()
    assert snapshot.black_box is None
    with pytest.raises(ProbeError, match="black-box inputs need an attack without gradients"):
        snapshot.view("test", "black-box")


def test_a_run_builds_square_in_the_threat_model_of_training():
    attack = build_black_box(AttackConfig(norm="l2", eps=0.5), EvaluationConfig(n_queries=123))
    assert isinstance(attack, Square)
    assert attack.threat == ThreatModel("l2", 0.5)
    assert attack.n_queries == 123


def test_a_monitor_has_them_where_its_attack_knows_all_pixels():
    """Any other attack ended the monitor before it began, since Square refuses other bounds, though nobody asked."""

    def monitor(**bounds):
        attack = PGD(ThreatModel(eps=0.1, **bounds), step_size=0.05, n_steps=1)
        return Monitor(awkward_model(), arrays(30, 0), arrays(20, 1), probes=["calibration"], attack=attack, n=10)

    assert isinstance(monitor().snapshot().black_box, Square)
    narrow = monitor(low=0.1, high=0.9)
    assert narrow.snapshot().black_box is None
    narrow.epoch_ended()
    assert "adversarial" in set(narrow.records["inputs"])
    with pytest.raises(ProbeError, match="black-box inputs need an attack"):
        narrow.snapshot().view("test", "black-box")
