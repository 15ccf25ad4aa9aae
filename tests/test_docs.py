"""The pages' worked examples run as they stand on the page."""

import importlib
import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest
import torch

from factories import make_snapshot
from overfit_lab.config.catalog import ATTACKS, CHECKS, LABELS, OBJECTIVES, PROBES, REGULARIZERS, SCHEDULES
from overfit_lab.config.recipes import RECIPES
from overfit_lab.errors import ConfigError
from overfit_lab.probes.base import run_probe
from overfit_lab.records.reader import Run
from overfit_lab.training.complete import complete
from overfit_lab.training.run import train_run
from tiny import tiny_config

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))


def blocks(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.S)


@pytest.fixture
def example(tmp_path, monkeypatch):
    """Write a page's code block to a module and import it."""

    def load(page):
        (code,) = blocks(ROOT / "docs" / f"{page}.md")
        name = f"example_{page.replace('-', '_')}"
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.syspath_prepend(str(tmp_path))
        sys.modules.pop(name, None)
        return importlib.import_module(name), code

    return load


def test_the_example_probe(example):
    module, _ = example("add-a-probe")
    cls = PROBES[f"{module.__name__}:MarginProbe"]
    snapshot = make_snapshot()
    measurement, _ = run_probe(cls(), snapshot)
    view = snapshot.view("test", "clean", 512)
    expected = [
        z[y] - max(v for k, v in enumerate(z) if k != y)
        for z, y in zip(view.logits.tolist(), view.y.tolist(), strict=True)
    ]
    assert measurement.values[0].value == pytest.approx(sum(expected) / len(expected), rel=1e-5)
    assert list(module.REGISTER) == ["margin"]


def test_the_example_label_mode_trains_and_is_short(example, tmp_path):
    module, code = example("add-a-label-mode")
    assert len([line for line in code.splitlines() if line.strip()]) < 40
    config = tiny_config(labels={"name": f"{module.__name__}:LateSmooth", "r": 0.2}, probes={"metrics": []})
    assert train_run(config, tmp_path / "run", device="cpu") == "completed"
    assert Run.open(tmp_path / "run").config.labels.options == {"r": 0.2, "start_epoch": "50%"}
    assert LABELS[f"{module.__name__}:LateSmooth"] is module.LateSmooth


@pytest.mark.parametrize("labels", ["hard", "smooth", "sglr"])
def test_the_example_objective_combines_with_every_label_mode(example, tmp_path, labels):
    module, _ = example("add-an-objective")
    name = f"{module.__name__}:Mixed"
    config = tiny_config(labels, objective={"name": name, "share": 0.7}, epochs=2, probes={"metrics": []})
    assert train_run(config, tmp_path / "run", device="cpu") == "completed"
    losses = Run.open(tmp_path / "run").series("training", "loss")["value"]
    assert losses.notna().all()
    objective = OBJECTIVES[name](OBJECTIVES[name].Options(share=0.7))
    outputs = importlib.import_module("overfit_lab.types").Outputs
    targets = importlib.import_module("overfit_lab.types").Targets
    z, t = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)), torch.eye(3)[[0, 1, 2, 0, 1]]
    found = objective.loss(outputs(clean=z[0], adv=z[1]), targets(probs=t, given=t.argmax(1)))
    ce = [torch.nn.functional.cross_entropy(part, t.argmax(1)).item() for part in z]
    assert found.item() == pytest.approx(0.3 * ce[0] + 0.7 * ce[1], rel=1e-6)


def test_the_example_regularizer_takes_part_and_refuses(example, tmp_path):
    module, _ = example("add-a-regularizer")
    name = f"{module.__name__}:Ceiling"
    losses = []
    for ceiling in (1e6, 0.5):
        folder = tmp_path / str(ceiling)
        added = [{"name": name, "ceiling": ceiling}]
        config = tiny_config("hard", regularizers=added, epochs=1, probes={"metrics": []})
        assert train_run(config, folder, device="cpu") == "completed"
        losses.append(Run.open(folder).series("training", "loss")["value"].iloc[0])
    assert losses[0] > 1
    assert losses[1] == pytest.approx(0.5, rel=1e-5)
    with pytest.raises(ConfigError, match="is for a cross entropy"):
        complete(tiny_config("hard", objective="logit-squeezing", regularizers=[name]))


def test_the_example_evaluation_runs(digits_run, capsys):
    (code,) = blocks(ROOT / "docs" / "evaluation.md")
    exec(compile(code.replace("n=500", "n=60"), "evaluation.md", "exec"), {"folder": digits_run})
    assert len(capsys.readouterr()[0].splitlines()) >= 1


def test_the_page_of_evaluation_names_every_check_and_every_attack():
    text = (ROOT / "docs" / "evaluation.md").read_text()
    for name in (*CHECKS, *(name for name, attack in ATTACKS.items() if attack.adversarial)):
        assert f"`{name}`" in text, name


def test_the_page_of_methods_names_all_of_them():
    text = (ROOT / "docs" / "methods.md").read_text()
    for registry in (OBJECTIVES, LABELS, REGULARIZERS, SCHEDULES):
        for name in registry:
            assert f"`{name}`" in text or f"name: {name}" in text, name


def test_the_readmes_loop_runs(tmp_path, monkeypatch):
    """The ten lines of the README, with the reader's own model, optimiser and data before them."""
    (code,) = [block for block in blocks(ROOT / "README.md") if "Monitor(" in block]
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 8), torch.nn.ReLU(), torch.nn.Linear(8, 10))
    x = torch.randint(0, 256, (60, 1, 8, 8), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    y = torch.arange(60) % 10
    loader = [(x[i : i + 20].float() / 255, y[i : i + 20]) for i in (0, 20, 40)]
    names = {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "loader": loader,
        "x_train": x,
        "y_train": y,
        "x_test": x[:30],
        "y_test": y[:30],
        "n_epochs": 2,
    }
    exec(compile(code, "README.md", "exec"), names)
    run = Run.open(tmp_path / "runs" / "mine")
    assert run.info["status"] == "completed"
    assert {"gradient-norm", "iiw", "calibration", "evaluation"} <= set(run.records["probe"])


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_readme_names_every_metric_and_every_recipe_exists():
    text = (ROOT / "README.md").read_text()
    for name in PROBES:
        assert f"`{name}`" in text
    for name in re.findall(r"`((?:digits|cifar10-small|cifar10-medium|paper-cifar10)-[a-z]+)`", text):
        assert name in RECIPES


def test_the_page_on_performance_shows_the_saved_runs():
    """Its tables are written from the committed figures, and are those."""
    spec = importlib.util.spec_from_file_location("page", ROOT / "benchmarks" / "page.py")
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    text, contents = page.PAGE.read_text(), [json.loads(path.read_text()) for path in page.SHOWN]
    assert page.page(text, contents) == text
    for content in contents:
        assert {"date", "revision", "hardware", "versions", "matrix_gflops"} <= content.keys()
    bars = [bar for content in contents for result in content["benchmarks"].values() for bar in result["bars"]]
    assert len(bars) > 25
    for bar in bars:
        assert bar["met"] == (
            bar["reached"] >= bar["asked"] if bar["more_is_better"] else bar["reached"] <= bar["asked"]
        )


def test_the_page_has_the_figures_of_the_checks_of_derivatives():
    results = json.loads((ROOT / "benchmarks" / "results" / "derivative_checks.json").read_text())
    page = (ROOT / "docs" / "performance.md").read_text()
    for row in results["benchmarks"]["derivative_checks"]["rows"]:
        figures = row["figures"]
        assert figures["trials in an epoch of training"] == 0
        assert figures["checks, all times"] < 0.02
        shares = " | ".join(f"{figures[name]:.2%}" for name in ("checks, first time", "checks, all times"))
        assert f"| {row['contender']} | {figures['seconds a measurement']:.2f} s | {shares} |" in page


def test_the_page_on_dynamics_has_the_figures_of_its_benchmark():
    results = json.loads((ROOT / "benchmarks" / "results" / "precision.json").read_text())
    page = (ROOT / "docs" / "dynamics.md").read_text()
    step, dynamics = (row["figures"] for row in results["benchmarks"]["dynamics"]["rows"])
    assert dynamics["share of a step"] == dynamics["seconds a step"] / step["seconds a step"] < 0.01
    assert f"width 16, batch 128 | {step['seconds a step'] * 1e3:,.3g} ms |" in page
    assert f"| {dynamics['seconds a step'] * 1e3:,.3g} ms | {dynamics['share of a step']:.3%} |" in page


def test_the_page_on_streaming_has_the_figures_of_its_benchmark():
    results = json.loads((ROOT / "benchmarks" / "results" / "streaming.json").read_text())
    page = (ROOT / "docs" / "streaming.md").read_text()
    rows = results["benchmarks"]["streaming"]["rows"]
    assert len(rows) == 6
    for row in rows:
        figures = " | ".join(f"{value:,.0f}" for value in row["figures"].values())
        assert f"| {row['contender']} | {figures} |" in page
