"""Evaluations: what the library itself would say, the same after an interruption, and nothing attacked twice."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch

from overfit_lab.config import load_config
from overfit_lab.errors import ConfigError, ProbeError, RunFolderError
from overfit_lab.evaluation.attackers import AttackOptions, Source, make_attacker, single
from overfit_lab.evaluation.outcome import ROBUST, WRONG, load_outcome
from overfit_lab.evaluation.run import evaluate, take_samples
from overfit_lab.evaluation.store import evaluate_into, read_outcomes
from overfit_lab.methods.attacks.losses import CrossEntropy
from overfit_lab.methods.attacks.pgd import PGD
from overfit_lab.models.spec import ModelSpec
from overfit_lab.records import layout
from overfit_lab.records.reader import Run
from overfit_lab.training.subjects import at_checkpoints, open_run
from overfit_lab.types import to_float

QUICK = AttackOptions(n_iter=8, n_queries=40)


def open_final(folder):
    session = open_run(folder, device="cpu")
    (snapshot,) = at_checkpoints(session, folder, "final")
    return session.config, snapshot


@pytest.fixture
def final(digits_run):
    return open_final(digits_run)


@pytest.fixture
def copied(digits_run, tmp_path):
    """A run folder of its own to write to."""
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(digits_run, folder)
    return folder


def same(first, second):
    """Every per-sample array and the progress; seconds differ."""
    arrays = ("index", "y", "clean_prediction", "prediction", "broken_by", "logits", "members")
    assert all(np.array_equal(getattr(first, name), getattr(second, name)) for name in arrays)
    assert (first.stage, first.done, first.settings) == (second.stage, second.done, second.settings)


@pytest.mark.slow
def test_autoattack_over_several_batches_gives_the_librarys_result_to_the_sample(final):
    """The library re-batches what each attack leaves right, and so do we."""
    from pyautoattack import AutoAttack as Library

    config, snapshot = final
    outcome = evaluate(snapshot, make_attacker("autoattack", config), n=40, batch_size=16)
    samples = take_samples(snapshot, "test", 40)
    snapshot.model.eval()
    library = Library(snapshot.model, norm="Linf", eps=config.attack.eps, seed=config.seed, device="cpu")
    with torch.random.fork_rng(devices=[]):
        theirs, _ = library.run_standard_evaluation(to_float(samples.x), samples.y, batch_size=16)
    with torch.no_grad():
        right = (snapshot.model(theirs).argmax(1) == samples.y).numpy()
    assert np.array_equal(outcome.robust, right)
    assert 5 < right.sum() < 38


def test_counts_by_hand(final):
    """PGD without restarts: clean answers, then one attack on those that are right."""
    _, snapshot = final
    attack = PGD(snapshot.attack.threat, step_size=0.025, n_steps=10)
    outcome = evaluate(snapshot, single(attack), n=90, batch_size=64)
    samples = take_samples(snapshot, "test", 90)
    x, y = to_float(samples.x), samples.y
    model = snapshot.model.eval()
    with torch.no_grad():
        clean = model(x).argmax(1)
    right = (clean == y).nonzero().flatten()
    fooled = []
    for i in range(0, len(right), 64):
        which = right[i : i + 64]
        generator = snapshot.generator("evaluate", "attack", "test", 0, i // 64)
        found = attack(model, x[which], CrossEntropy(y[which]), generator=generator)
        with torch.no_grad():
            fooled += which[model(found).argmax(1) != y[which]].tolist()
    assert outcome.clean_accuracy == pytest.approx(len(right) / 90)
    assert np.flatnonzero(outcome.broken_by > ROBUST).tolist() == sorted(fooled)
    assert np.flatnonzero(outcome.broken_by == WRONG).tolist() == (clean != y).nonzero().flatten().tolist()
    assert outcome.robust_accuracy == pytest.approx((len(right) - len(fooled)) / 90)
    assert np.array_equal(outcome.prediction[outcome.robust], y.numpy()[outcome.robust])
    assert np.array_equal(outcome.logits.argmax(1), outcome.prediction)


def test_agrees_with_what_training_recorded(copied):
    """PGD-20 at the last epoch, other random starts: within what those explain."""
    config, snapshot = open_final(copied)
    outcome = evaluate(snapshot, make_attacker("pgd", config, AttackOptions(n_steps=20)))
    recorded = Run.open(copied).value_at(snapshot.clock.epoch, "evaluation", "acc_adv", "test", "adversarial")
    assert outcome.robust_accuracy == pytest.approx(recorded, abs=0.012)
    clean = Run.open(copied).value_at(snapshot.clock.epoch, "evaluation", "acc_clean", "test", "clean")
    assert outcome.clean_accuracy == clean


def test_stages_only_lower_accuracy_and_restarts_are_stages(final):
    config, snapshot = final
    outcome = evaluate(snapshot, make_attacker("pgd", config, AttackOptions(n_restarts=5, n_steps=5)), n=200)
    after = [outcome.accuracy_after(i) for i in range(5)]
    assert after == sorted(after, reverse=True)
    assert after[-1] == outcome.robust_accuracy < after[0]
    assert outcome.stages == tuple(f"restart {i}" for i in range(5))
    once = evaluate(snapshot, make_attacker("pgd", config, AttackOptions(n_steps=5)), n=200)
    assert outcome.robust_accuracy <= once.robust_accuracy
    assert outcome.clean_accuracy == once.clean_accuracy


class Stop:
    """Ctrl-C at a call of the model."""

    def __init__(self, model, at):
        self.left = at
        self.handle = model.register_forward_pre_hook(self)

    def __call__(self, *_):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["autoattack", "pgd"])
@pytest.mark.parametrize("interruptions", [[2], [13], [40, 90, 160], [1, 200, 30]])
def test_an_interrupted_evaluation_goes_on_to_the_same_outcome(final, tmp_path, name, interruptions):
    config, snapshot = final
    options = QUICK if name == "autoattack" else AttackOptions(n_steps=20, n_restarts=5)
    attacker = make_attacker(name, config, options)
    whole = evaluate(snapshot, attacker, n=60, batch_size=24)
    partial = tmp_path / "partial.npz"
    for at in interruptions:
        stop = Stop(snapshot.model, at)
        with pytest.raises(KeyboardInterrupt):
            evaluate(snapshot, attacker, n=60, batch_size=24, partial=partial)
        stop.handle.remove()
    parts = evaluate(snapshot, attacker, n=60, batch_size=24, partial=partial)
    same(parts, whole)
    assert parts.complete


def test_going_on_attacks_only_what_is_left(final, tmp_path):
    config, snapshot = final
    attacker = make_attacker("autoattack", config, QUICK)
    calls = []
    count = snapshot.model.register_forward_pre_hook(lambda *_: calls.append(1))
    evaluate(snapshot, attacker, n=60, batch_size=24)
    n_whole = len(calls)
    stop = Stop(snapshot.model, n_whole - 20)
    with pytest.raises(KeyboardInterrupt):
        evaluate(snapshot, attacker, n=60, batch_size=24, partial=tmp_path / "p.npz")
    stop.handle.remove()
    calls.clear()
    evaluate(snapshot, attacker, n=60, batch_size=24, partial=tmp_path / "p.npz")
    count.remove()
    assert len(calls) < n_whole / 3


def test_what_another_evaluation_left_is_not_gone_on_with(final, tmp_path):
    """Another batch size draws other numbers, so its beginning is not ours."""
    config, snapshot = final
    attacker = make_attacker("autoattack", config, QUICK)
    stop = Stop(snapshot.model, 60)
    with pytest.raises(KeyboardInterrupt):
        evaluate(snapshot, attacker, n=60, batch_size=20, partial=tmp_path / "p.npz")
    stop.handle.remove()
    assert (tmp_path / "p.npz").is_file()
    parts = evaluate(snapshot, attacker, n=60, batch_size=24, partial=tmp_path / "p.npz")
    same(parts, evaluate(snapshot, attacker, n=60, batch_size=24))


def test_writes_outcome_and_records_once(copied):
    config, snapshot = open_final(copied)
    attacker = make_attacker("autoattack", config, QUICK)
    calls = []
    snapshot.model.register_forward_pre_hook(lambda *_: calls.append(1))
    first = evaluate_into(copied, snapshot, attacker, n=60)
    n_calls = len(calls)
    second = evaluate_into(copied, snapshot, attacker, n=60)
    assert len(calls) == n_calls
    same(first, second)
    again = evaluate_into(copied, snapshot, attacker, n=60, again=True)
    assert len(calls) == 2 * n_calls
    same(first, again)
    (stored,) = read_outcomes(copied)
    same(first, stored)
    run, epoch = Run.open(copied), snapshot.clock.epoch
    label = attacker.label
    assert label == "autoattack-iter8-queries40"
    low, high = first.interval()
    for field, value in (("acc_adv", first.robust_accuracy), ("interval_low", low), ("interval_high", high)):
        assert run.value_at(epoch, "robustness", f"{field}/{label}", "test", "adversarial") == value
    assert run.value_at(epoch, "robustness", "acc_clean", "test", "clean") == first.clean_accuracy
    after = run.value_at(epoch, "robustness", f"acc_after/{label}:apgd-ce", "test", "adversarial")
    assert after == first.accuracy_after(0)
    assert not list(layout.evaluations(copied).glob(".*"))


def test_other_weights_are_attacked_anew(copied):
    config, snapshot = open_final(copied)
    attacker = make_attacker("pgd", config)
    first = evaluate_into(copied, snapshot, attacker, n=60)
    with torch.no_grad():
        next(snapshot.model.parameters()).mul_(0.5)
    second = evaluate_into(copied, snapshot, attacker, n=60)
    assert first.settings["model"] != second.settings["model"]


def test_a_damaged_outcome_is_named_and_kept(copied):
    config, snapshot = open_final(copied)
    attacker = make_attacker("pgd", config)
    evaluate_into(copied, snapshot, attacker, n=60)
    (path,) = layout.evaluations(copied).glob("*.npz")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunFolderError, match="damaged"):
        evaluate_into(copied, snapshot, attacker, n=60)
    assert path.is_file()


def test_an_evaluation_leaves_no_trace_in_the_model(final):
    config, snapshot = final
    snapshot.model.train()
    before = {name: tensor.clone() for name, tensor in snapshot.model.state_dict().items()}
    state = torch.get_rng_state()
    evaluate(snapshot, make_attacker("autoattack", config, QUICK), n=20)
    assert snapshot.model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in snapshot.model.state_dict().items())
    assert all(p.grad is None for p in snapshot.model.parameters())


def test_transfer_takes_images_of_the_source(final, digits_run):
    config, snapshot = final
    session = open_run(digits_run, device="cpu")
    (early,) = at_checkpoints(session, digits_run, "initial")
    source = Source("early", early.model)
    attacker = make_attacker("transfer", config, AttackOptions(n_steps=5), source)
    assert attacker.label == "transfer-early-5"
    transferred = evaluate(snapshot, attacker, n=120)
    direct = evaluate(snapshot, make_attacker("pgd", config, AttackOptions(n_steps=5)), n=120)
    assert direct.robust_accuracy < transferred.robust_accuracy <= transferred.clean_accuracy
    own = make_attacker("transfer", config, AttackOptions(n_steps=5), Source("own", snapshot.model))
    same_model = evaluate(snapshot, own, n=120)
    assert same_model.robust_accuracy == pytest.approx(direct.robust_accuracy, abs=0.03)


def test_progress_rises_to_one(final):
    config, snapshot = final
    said = []
    attacker = make_attacker("autoattack", config, QUICK)
    evaluate(snapshot, attacker, n=60, batch_size=24, on_progress=lambda share, text: said.append((share, text)))
    shares = [share for share, _ in said]
    assert shares[-1] == 1.0
    assert all(0 <= share <= 1 for share in shares)
    assert len(set(shares)) > 20
    assert max(b - a for a, b in pairwise(shares)) < 0.5
    assert any("fab-t" in text for _, text in said)


def test_an_absent_split_is_named(final):
    config, snapshot = final
    with pytest.raises(ProbeError, match="'val' is empty or absent"):
        evaluate(snapshot, make_attacker("pgd", config), split="val")


def test_logits_that_are_not_finite_are_refused(final):
    config, snapshot = final
    with torch.no_grad():
        next(snapshot.model.parameters()).fill_(torch.nan)
    with pytest.raises(ProbeError, match="not finite"):
        evaluate(snapshot, make_attacker("pgd", config), n=10)


@pytest.mark.parametrize(
    ("name", "options", "label"),
    [
        ("pgd", {}, "pgd-20"),
        ("pgd", {"n_steps": 50, "n_restarts": 5, "loss": "margin"}, "pgd-50x5-margin"),
        ("pgd", {"eps": "4/255"}, "pgd-20-eps4of255"),
        ("pgd", {"eps": 0.1}, "pgd-20"),
        ("pgd", {"norm": "l2", "eps": 0.5, "step_size": 0.1}, "pgd-20-l2-eps0.5-step0.1"),
        ("square", {"n_queries": 100, "n_restarts": 2}, "squarex2-queries100"),
        ("autoattack", {}, "autoattack"),
        ("apgd-t", {"n_iter": 7}, "apgd-t-iter7"),
    ],
)
def test_labels_say_what_is_not_as_usual(digits_run, name, options, label):
    config = load_config(layout.config_path(digits_run))
    assert make_attacker(name, config, AttackOptions.model_validate(options)).label == label


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("autoattack", {"n_restarts": 2}, "autoattack is an ensemble of its own"),
        ("square", {"loss": "margin"}, "square has losses of its own"),
        ("gaussian-noise", {}, "is a noise; expected an attack"),
        ("transfer", {}, "needs a source"),
        ("pgd", {"norm": "l2"}, "norm = l2: the run's eps = 0.1 is a radius in linf; give eps too, such as 128/255"),
        ("apgd", {}, "unknown attack 'apgd'; did you mean"),
    ],
)
def test_what_makes_no_sense_is_refused(digits_run, name, options, message):
    config = load_config(layout.config_path(digits_run))
    with pytest.raises(ConfigError, match=message):
        make_attacker(name, config, AttackOptions.model_validate(options))


def test_a_larger_ball_has_larger_steps(digits_run):
    config = load_config(layout.config_path(digits_run))
    attacker = make_attacker("pgd", config, AttackOptions(eps=2 * config.attack.eps))
    assert attacker.stages[0].attack.step_size == pytest.approx(2 * config.attack.step_size)


def test_settings_survive_json(final):
    config, snapshot = final
    outcome = evaluate(snapshot, make_attacker("pgd", config), n=10)
    assert json.loads(json.dumps(outcome.settings)) == outcome.settings


def test_an_outcome_file_of_another_kind_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    with pytest.raises(RunFolderError, match="not an outcome"):
        load_outcome(tmp_path / "x.npz")


def test_a_fingerprint_sees_weights_buffers_and_constants_of_normalisation():
    from overfit_lab.models.mlp import MLP
    from overfit_lab.training.subjects import fingerprint

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MLP(ModelSpec(3, (1, 4, 4), (0.5,), (0.2,)))
    seen = {fingerprint(model)}
    assert fingerprint(model) in seen
    with torch.no_grad():
        for tensor in (next(model.parameters()), model.normalize.mean, model.layers[1].running_mean):
            tensor.add_(1e-3)
            seen.add(fingerprint(model))
    assert len(seen) == 4
    assert fingerprint(model.bfloat16()) not in seen
