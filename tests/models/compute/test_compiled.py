"""Compiled paths give the numbers of the plain ones, and where compilation fails training goes on and says so."""

import contextlib
import logging
import shutil

import pytest
import torch
from torch import nn

from overfit_lab.models.compute import compiled
from overfit_lab.models.compute.agreement import agree
from overfit_lab.models.compute.compiled import compile_attack, compile_model
from overfit_lab.models.compute.folded import folded
from overfit_lab.models.isolation import isolated
from overfit_lab.models.preact_resnet import preact_resnet18
from overfit_lab.models.spec import ModelSpec
from overfit_lab.records.reader import Run
from overfit_lab.training import compute
from overfit_lab.training.build import build
from overfit_lab.training.run import train_run
from tiny import tiny_config

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="compilation needs a C++ compiler")
pytestmark = pytest.mark.filterwarnings("ignore")
IMAGES = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
SMALL = {"name": "preact-resnet18", "width": 4, "blocks": [1], "stem_stride": 2}
QUIET = {"every": 5, "metrics": [], "n": 8}


def make():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return preact_resnet18(ModelSpec(5), width=4, blocks=(1,))


def trace_of(model):
    return (
        [t.clone() for t in model.state_dict().values()],
        [m.training for m in model.modules()],
        torch.get_rng_state(),
    )


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a[0], b[0], strict=True)) and a[1] == b[1] and torch.equal(a[2], b[2])


def refuse(*_, **__):
    raise RuntimeError("no compiler here\nand a long story")


@pytest.fixture(autouse=True)
def _forget():
    yield
    torch.compiler.reset()


@pytest.mark.slow
@needs_compiler
def test_a_compiled_attack_gives_the_gradients_of_the_plain_one():
    model = make().train()
    before = trace_of(model)
    assert compile_attack(model, IMAGES, contextlib.nullcontext) is None
    assert same(before, trace_of(model))
    twin = folded(model, IMAGES)
    ran = []
    inner = twin.compiled
    twin.compiled = lambda x: ran.append(len(x)) or inner(x)
    model.eval()
    assert agree(model, twin, IMAGES)
    assert ran == [5]
    twin(IMAGES[:3])  # another size runs as it did
    assert ran == [5]
    with isolated(model):
        torch.testing.assert_close(twin(IMAGES), twin.network(IMAGES), rtol=0, atol=0)  # to the bit: not compiled


@pytest.mark.slow
@needs_compiler
def test_a_compiled_model_trains_as_the_plain_one():
    plain, fast = make(), make()
    before = trace_of(fast)
    assert compile_model(fast, IMAGES, contextlib.nullcontext) is None
    assert same(before, trace_of(fast))
    for model in (plain, fast):
        model.train()
        model(IMAGES).square().mean().backward()
    for a, b in zip(plain.parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(b.grad, a.grad, rtol=1e-3, atol=1e-5)


def test_a_failure_leaves_everything_as_before(monkeypatch):
    model = make().train()
    before = trace_of(model)
    monkeypatch.setattr(compiled.torch, "compile", lambda *_, **__: refuse)
    monkeypatch.setattr(nn.Module, "compile", lambda self: setattr(self, "_compiled_call_impl", refuse))
    for attempt in (compile_attack, compile_model):
        reason = attempt(model, IMAGES, contextlib.nullcontext)
        assert reason == "RuntimeError: no compiler here"
    assert same(before, trace_of(model))
    model(IMAGES)
    assert folded(model, IMAGES).compiled is None


def test_compiled_code_that_gives_other_numbers_is_not_used(monkeypatch):
    model = make()
    monkeypatch.setattr(compiled.torch, "compile", lambda network, **_: lambda x: network(x) * 1.01)
    assert "other numbers" in compile_attack(model, IMAGES, contextlib.nullcontext)
    assert folded(model, IMAGES).compiled is None


def test_a_run_falls_back_and_says_so(tmp_path, monkeypatch, caplog):
    config = tiny_config(model=SMALL, probes=QUIET, compute={"compile": False})
    train_run(config, tmp_path / "plain", device="cpu")
    monkeypatch.setattr(compiled.torch, "compile", lambda *_, **__: refuse)
    config = tiny_config(model=SMALL, probes=QUIET, compute={"compile": True})
    with caplog.at_level(logging.WARNING, logger="overfit_lab"):
        assert train_run(config, tmp_path / "fallen", device="cpu") == "completed"
    assert [record.getMessage() for record in caplog.records] == [
        "overfit-lab: attack not compiled: RuntimeError: no compiler here; training goes on without"
    ]
    info = Run.open(tmp_path / "fallen").info
    assert info["compute"]["compile"] is False
    assert info["compute"]["fallback"] == "attack not compiled: RuntimeError: no compiler here"
    curves = [Run.open(tmp_path / name).series("training", "loss")["value"].tolist() for name in ("plain", "fallen")]
    assert curves[0] == curves[1]


@pytest.mark.parametrize(
    ("model", "attack", "expected"),
    [(SMALL, {}, ["attack"]), (SMALL, {"bn_mode": "train"}, ["model"]), ({"name": "mlp"}, {}, ["model"])],
)
def test_where_no_folded_network_is_attacked_the_model_is_compiled(model, attack, expected, monkeypatch):
    done = []
    monkeypatch.setattr(compute, "compile_attack", lambda *_: done.append("attack"))
    monkeypatch.setattr(compute, "compile_model", lambda *_: done.append("model"))
    steps = {"n_steps": 2, "eps": 0.1, "step_size": 0.05, **attack}
    session = build(tiny_config(model=model, attack=steps, compute={"compile": True}), torch.device("cpu"))
    compute.compile_training(session)
    assert done == expected
    assert session.compute["compile"] is True


@pytest.mark.parametrize(("asked", "epochs", "expected"), [("auto", 4, False), (False, 10**9, False), (True, 4, True)])
def test_small_runs_do_not_pay_for_compilation(asked, epochs, expected):
    config = tiny_config(model=SMALL, epochs=epochs, schedule={"name": "constant"}, compute={"compile": asked})
    assert build(config, torch.device("cpu")).compute["compile"] is expected


def test_long_runs_of_convolutional_networks_do():
    for model, expected in ((SMALL, True), ({"name": "mlp"}, False)):
        config = tiny_config(model=model, epochs=10**9, schedule={"name": "constant"})
        assert build(config, torch.device("cpu")).compute["compile"] is expected


def test_folding_can_be_switched_off_and_is_in_the_record(tmp_path):
    for fold in (True, False):
        session = build(tiny_config(model=SMALL, compute={"fold": fold}), torch.device("cpu"))
        assert session.compute["fold"] is fold
        assert session.attack.fold is fold
        assert session.setting.attack.fold is fold


def test_a_folded_run_is_the_plain_one_to_rounding(tmp_path):
    curves = {}
    for fold in (True, False):
        config = tiny_config(model=SMALL, probes=QUIET, compute={"fold": fold})
        train_run(config, tmp_path / str(fold), device="cpu")
        curves[fold] = Run.open(tmp_path / str(fold)).series("training", "loss")["value"].to_numpy()
    assert curves[True] == pytest.approx(curves[False], rel=1e-2)
