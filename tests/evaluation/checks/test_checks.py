"""Signs of masked gradients: found on models that mask on purpose, and not on honest ones."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from overfit_lab.config import apply_overrides
from overfit_lab.config.catalog import CHECKS
from overfit_lab.config.recipes import recipe
from overfit_lab.errors import RunFolderError
from overfit_lab.evaluation.attackers import Source, make_attacker
from overfit_lab.evaluation.checks.base import Bench, Share, broken, only_by, worst_case
from overfit_lab.evaluation.checks.larger_eps import radii_of
from overfit_lab.evaluation.checks.other_attacks import other_losses
from overfit_lab.evaluation.checks.report import run_checks
from overfit_lab.evaluation.outcome import ROBUST, WRONG, Outcome
from overfit_lab.evaluation.run import evaluate
from overfit_lab.evaluation.store import record_measurement
from overfit_lab.records.reader import Run
from overfit_lab.training.run import train_run
from overfit_lab.training.subjects import at_checkpoints, open_run
from overfit_lab.views.figures.masking import draw

N = 150
N_QUERIES = 1000


class Scaled(nn.Module):
    """Logits so large that the softmax saturates."""

    def __init__(self, model, scale=1e4):
        super().__init__()
        self.model, self.scale = model, scale

    def forward(self, x):
        return self.model(x) * self.scale


class Quantised(nn.Module):
    """Rounded pixels: no gradient, in one of two ways."""

    def __init__(self, model, levels=8, cut=False):
        super().__init__()
        self.model, self.levels, self.cut = model, levels, cut

    def forward(self, x):
        rounded = (x * self.levels).round()
        return self.model((rounded.int().float() if self.cut else rounded) / self.levels)


class Straight(torch.autograd.Function):
    """Identity whose gradient is noise."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        stream = torch.Generator().manual_seed(0)
        return torch.randn(gradient.shape, generator=stream)


class Shattered(nn.Module):
    """Gradients that lead nowhere."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(Straight.apply(x))


class Random(nn.Module):
    """Noise on every image, anew in every pass."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x + 0.1 * torch.randn_like(x))


MASKS = {
    "logits x 1e4": (Scaled, {"gradient-exists", "gradient-leads", "larger-eps", "other-losses", "square"}),
    "quantiser": (Quantised, {"gradient-exists", "larger-eps", "square"}),
    "quantiser without a way back": (
        lambda model: Quantised(model, cut=True),
        {"gradient-exists", "larger-eps", "square"},
    ),
    "gradients of noise": (Shattered, {"gradient-leads", "larger-eps"}),
    "random pixels": (Random, {"deterministic"}),
}


def snapshot_of(folder, which="final"):
    session = open_run(folder, device="cpu")
    (snapshot,) = at_checkpoints(session, folder, which)
    return session.config, snapshot


def bench_of(config, snapshot, **settings):
    def run(name, options, source):
        attacker = make_attacker(name, config, options, source)
        return evaluate(snapshot, attacker, n=N)

    return Bench(snapshot, config, run, n=N, n_queries=N_QUERIES, **settings)


def report_of(folder, wrap=lambda model: model, **settings):
    config, snapshot = snapshot_of(folder)
    snapshot = replace(snapshot, model=wrap(snapshot.model).eval())
    return run_checks(bench_of(config, snapshot, **settings), list(CHECKS.items()))


@pytest.fixture(scope="module")
def honest(digits_run):
    return report_of(digits_run)


def names(findings):
    return {finding.check for finding in findings}


def test_an_honest_model_passes_every_check(honest):
    assert not honest.suspicious
    assert honest.verdict.startswith("No sign of masked gradients: 9 checks passed, transfer not run.")
    assert 0.2 < honest.worst.value <= honest.run_evaluation.value < 0.95


@pytest.mark.parametrize("mask", MASKS)
def test_a_model_that_masks_its_gradients_is_caught(digits_run, mask):
    wrap, signs = MASKS[mask]
    report = report_of(digits_run, wrap)
    assert signs <= names(report.suspicious)
    assert report.verdict.startswith("Suspicious: ")
    assert all(sign in report.verdict for sign in signs)


def test_small_scales_of_logits_are_no_mask(digits_run):
    """Doubling logits changes no sign of a gradient."""
    assert not report_of(digits_run, lambda model: Scaled(model, 2.0)).suspicious


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("source", ["digits-standard", "digits-hard", "digits-sglr"])
def test_false_alarms_on_honest_runs(tmp_path, source, seed):
    """Undefended, overfitted and cured models, noisy labels and all: none of nine is called suspicious."""
    short = ["epochs=30", "probes.metrics=none", "evaluation.every=30", f"seed={seed}"]
    config = apply_overrides(recipe(source), [*short, "schedule.milestones=[15,24]"])
    train_run(config, tmp_path / "run", device="cpu")
    report = report_of(tmp_path / "run")
    assert not report.suspicious, report.verdict


def test_transfer_is_compared_with_the_same_samples(digits_run):
    config, snapshot = snapshot_of(digits_run)
    source = Source("own", snapshot.model)
    bench = bench_of(config, snapshot, source=source)
    finding = CHECKS["transfer"](bench)
    assert finding.status == "passed"
    honest = snapshot_of(digits_run)[1]
    masked = replace(honest, model=Scaled(honest.model).eval())
    finding = CHECKS["transfer"](bench_of(config, masked, source=source))
    assert finding.status == "suspicious"
    assert "images made on own" in finding.text


def test_attacks_are_shared_between_checks(digits_run):
    config, snapshot = snapshot_of(digits_run)
    labels = []

    def run(name, options, source):
        attacker = make_attacker(name, config, options, source)
        labels.append(attacker.label)
        return evaluate(snapshot, attacker, n=20)

    run_checks(Bench(snapshot, config, run, n=20, n_queries=20), list(CHECKS.items()))
    assert len(labels) == len(set(labels))
    assert {"pgd-1", "pgd-100", "pgd-20x10", "pgd-20-margin", "pgd-20-dlr", "square-queries20"} <= set(labels)


def outcome(broken_by):
    broken_by = np.array(broken_by, dtype=np.int16)
    n = len(broken_by)
    empty = np.zeros(n, dtype=np.int64)
    return Outcome(
        "x", empty, empty, empty, empty, broken_by, np.zeros((n, 2), np.float32), empty > 0, ("a", "b"), stage=2
    )


def test_shares_by_hand():
    first, second = outcome([ROBUST, 0, 1, WRONG, ROBUST]), outcome([0, 0, ROBUST, WRONG, ROBUST])
    assert broken(first).tolist() == [False, True, True, False, False]
    assert broken(first, second).tolist() == [True, True, True, False, False]
    assert only_by("first", [first], [second]).count == 1
    assert only_by("second", [second], [first]).count == 1
    assert worst_case({"a": first, "b": second}) == Share("worst case", 1, 5)


@pytest.mark.parametrize(("count", "status"), [(1, "passed"), (4, "passed"), (12, "suspicious")])
def test_suspicion_needs_the_whole_interval(count, status):
    """One and four of 200 may be chance at a limit of 2%; twelve are not (Clopper-Pearson: 3.1% to 10.2%)."""
    from overfit_lab.evaluation.checks.base import finding

    assert finding("x", "y", Share("z", count, 200), 0.02).status == status


def test_radii_end_with_the_ball_that_holds_every_image(digits_run):
    config, snapshot = snapshot_of(digits_run)
    bench = bench_of(config, snapshot)
    assert radii_of(bench) == pytest.approx([0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.0])
    l2 = config.model_copy(update={"attack": config.attack.model_copy(update={"norm": "l2", "eps": 1.0})})
    assert radii_of(Bench(snapshot, l2, None))[-1] == pytest.approx(8.0)


@pytest.fixture
def checked(digits_run, tmp_path, honest):
    folder = tmp_path / "run"
    shutil.copytree(digits_run, folder)
    _, snapshot = snapshot_of(folder)
    record_measurement(folder, snapshot, "masking", honest.measurement())
    return Run.open(folder), honest


def test_numbers_are_recorded(checked):
    run, report = checked
    epoch = run.config.epochs
    assert run.value_at(epoch, "masking", "worst", "test", "adversarial") == report.worst.value
    assert run.value_at(epoch, "masking", "suspicious", "test", "adversarial") == 0
    (square,) = [finding for finding in report.findings if finding.check == "square"]
    assert run.value_at(epoch, "masking", "evidence/square", "test", "adversarial") == square.evidence.value
    arrays = run.arrays("masking", epoch)
    assert arrays["evidence-square"].tolist() == [square.evidence.value, *square.evidence.bounds, 0.02, N]
    assert arrays["curve-more-steps"][:, 0].tolist() == [1, 2, 5, 10, 20, 50, 100]
    assert arrays["curve-larger-eps"][0, 0] == 0


def test_the_picture_shows_the_records(checked):
    run, report = checked
    figure = draw([run])
    steps, eps, evidence = figure.axes
    arrays = run.arrays("masking", run.config.epochs)
    (line,) = steps.get_lines()
    assert np.array_equal(np.column_stack(line.get_data()), arrays["curve-more-steps"][:, :2])
    assert steps.get_xscale() == "log"
    shown = [line for line in eps.get_lines() if len(line.get_xdata()) > 2]
    assert np.array_equal(shown[0].get_ydata(), arrays["curve-larger-eps"][:, 1])
    labels = [label.get_text() for label in evidence.get_yticklabels()]
    assert labels == sorted(finding.check for finding in report.findings if finding.evidence is not None)
    assert f"{N} samples" in figure._supxlabel.get_text().replace("\n", " ")


def test_a_run_that_was_not_checked_says_so(digits_run):
    with pytest.raises(RunFolderError, match="was not checked; use `overfit-lab check"):
        draw([Run.open(digits_run)])


@pytest.mark.parametrize(("n_classes", "asked"), [(2, ["margin"]), (3, ["margin", "dlr"])])
def test_two_classes_are_checked_without_the_ratio_of_logits(n_classes, asked):
    """With two classes the ratio is a constant, and PGD on it is refused."""
    losses = []

    class Unbroken(list):
        broken_by = np.full(4, ROBUST)

    def outcome(*, n_steps, loss):
        losses.append(loss)
        return Unbroken([0] * 4)

    snapshot = SimpleNamespace(n_classes=n_classes)
    bench = SimpleNamespace(snapshot=snapshot, steps=2, outcome=outcome, gradient_attacks=lambda: [Unbroken([0] * 4)])
    assert other_losses(bench).status == "passed"
    assert losses == asked
