"""What holds for outcomes of attacks and for shares of several of them, whatever the attacks did."""

import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as drawn

from cases import few, steady
from overfit_lab.errors import RunFolderError
from overfit_lab.evaluation.checks.base import Finding, Share, broken, finding, only_by, right, worst_case
from overfit_lab.evaluation.outcome import ARRAYS, ROBUST, WRONG, Outcome, load_outcome
from overfit_lab.files.arrays import write_arrays


@st.composite
def models(draw):
    """Labels and a model's clean answers to n samples."""
    n, k = draw(st.integers(1, 12)), draw(st.integers(2, 5))
    classes = st.integers(0, k - 1)
    y, answers = (draw(drawn.arrays(np.int64, n, elements=classes)) for _ in range(2))
    return y, np.where(draw(drawn.arrays(bool, n)), y, answers), k


def attacked(draw, model, label="a"):
    """An outcome of an attack in up to four stages: a sample that was wrong stays so, others may fall at a stage."""
    y, clean, k = model
    n, n_stages = len(y), draw(st.integers(1, 4))
    stages = draw(drawn.arrays(np.int16, n, elements=st.integers(ROBUST, n_stages - 1)))
    broken_by = np.where(clean == y, stages, WRONG).astype(np.int16)
    return Outcome(
        label,
        index=np.arange(n),
        y=y,
        clean_prediction=clean,
        prediction=np.where(broken_by >= 0, (y + 1) % k, clean),
        broken_by=broken_by,
        logits=draw(drawn.arrays(np.float32, (n, k), elements=st.floats(width=32))),
        members=clean == y,
        stages=tuple(f"stage {i}" for i in range(n_stages)),
        stage=n_stages,
    )


@st.composite
def outcomes(draw):
    return attacked(draw, draw(models()))


@st.composite
def several(draw):
    """Outcomes of one to four attacks on the same model and samples."""
    model = draw(models())
    return [attacked(draw, model, f"attack {i}") for i in range(draw(st.integers(1, 4)))]


def reordered(outcome, order):
    return replace(outcome, **{name: getattr(outcome, name)[order] for name in ARRAYS})


@steady
@given(outcomes(), st.data())
def test_accuracy_only_falls(outcome, data):
    """From the clean one through every stage to the robust one, which lies within its interval; in any order."""
    after = [outcome.accuracy_after(i) for i in range(len(outcome.stages))]
    falling = [outcome.clean_accuracy, *after]
    assert all(a >= b for a, b in pairwise(falling))
    assert after[-1] == outcome.robust_accuracy
    assert outcome.accuracy_after(-1) == outcome.clean_accuracy
    low, high = outcome.interval()
    assert 0 <= low <= outcome.robust_accuracy <= high <= 1
    other = reordered(outcome, np.array(data.draw(st.permutations(range(len(outcome))))))
    assert (other.clean_accuracy, other.robust_accuracy, other.interval()) == (falling[0], after[-1], (low, high))
    assert [other.accuracy_after(i) for i in range(len(outcome.stages))] == after


@steady
@given(outcomes())
def test_recorded_values_are_shares_with_the_error_of_a_share(outcome):
    found = {value.field: value for value in outcome.values("test")}
    assert len(found) == 4 + len(outcome.stages) * (len(outcome.stages) > 1)
    for value in found.values():
        assert 0 <= value.value <= 1
        assert value.n == len(outcome)
        assert value.split == "test"
        assert (value.stderr is None) == value.field.startswith("interval")
        if value.stderr is not None:
            hits = np.zeros(len(outcome))
            hits[: round(value.value * len(outcome))] = 1
            assert value.stderr == pytest.approx(hits.std() / np.sqrt(len(outcome)), abs=1e-9)
    assert found["acc_clean"].inputs == "clean"
    assert found["acc_adv/a"].value == np.mean((outcome.y == outcome.clean_prediction) & (outcome.broken_by < 0))
    assert (found["interval_low/a"].value, found["interval_high/a"].value) == outcome.interval()


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@few
@given(
    outcomes(),
    st.text(max_size=10),
    st.lists(st.text(max_size=8), max_size=4),
    st.dictionaries(st.text(max_size=5), plain, max_size=3),
    st.tuples(st.integers(0, 9), st.integers(0, 9), st.floats(0, 1e9)),
)
def test_what_was_saved_is_loaded(outcome, label, stages, settings, progress):
    """Every array to the bit and of the same kind, NaN and infinity among the logits; every note as it was."""
    stage, done, seconds = progress
    notes = {"label": label, "stages": tuple(stages), "settings": settings}
    outcome = replace(outcome, **notes, stage=stage, done=done, seconds=seconds)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outcomes" / "one.npz"
        outcome.save(path)
        found = load_outcome(path)
        assert [p.name for p in path.parent.iterdir()] == ["one.npz"]
    for name in ARRAYS:
        one, other = getattr(outcome, name), getattr(found, name)
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes()
        assert one.shape == other.shape
    for name in (*notes, "stage", "done", "seconds"):
        assert getattr(found, name) == getattr(outcome, name)
        assert type(getattr(found, name)) is type(getattr(outcome, name))
    assert found.complete == (stage >= len(stages))


@steady
@given(outcomes())
def test_arrays_of_its_own_may_be_written_to(outcome):
    before = outcome.broken_by.copy()
    other = outcome.with_arrays()
    for name in ARRAYS:
        getattr(other, name)[...] = 1
    assert np.array_equal(outcome.broken_by, before)
    assert other.settings == outcome.settings


@pytest.mark.parametrize("name", [*ARRAYS, "notes"])
def test_a_file_that_lacks_something_is_no_outcome(tmp_path, name):
    arrays = {key: np.zeros((3, 2)) for key in ARRAYS}
    arrays["notes"] = np.array('{"label": "a", "stages": ["a"], "settings": {}}')
    write_arrays(tmp_path / "whole.npz", arrays)
    assert len(load_outcome(tmp_path / "whole.npz")) == 3
    write_arrays(tmp_path / "part.npz", {key: value for key, value in arrays.items() if key != name})
    damaged = np.zeros((4, 2)) if name != "notes" else np.array('{"label": "a", "stages": 3, "settings": {}}')
    write_arrays(tmp_path / "damaged.npz", {**arrays, name: damaged})
    for file in ("part.npz", "damaged.npz"):
        with pytest.raises(RunFolderError, match=f"{file}: not an outcome of an evaluation"):
            load_outcome(tmp_path / file)


@steady
@given(several(), st.data())
def test_shares_of_several_attacks_do_not_depend_on_the_order_of_samples_or_attacks(found, data):
    cut = data.draw(st.integers(0, len(found) - 1))
    order = np.array(data.draw(st.permutations(range(len(found[0])))))
    mixed = data.draw(st.permutations(found))
    other = [reordered(outcome, order) for outcome in found]
    assert np.array_equal(broken(*other), broken(*found)[order])
    assert np.array_equal(broken(*mixed), broken(*found))
    assert worst_case({o.label: o for o in other}) == worst_case({o.label: o for o in found})
    assert worst_case({o.label: o for o in mixed}) == worst_case({o.label: o for o in found})
    if cut:
        assert only_by("a", other[:cut], other[cut:]) == only_by("a", found[:cut], found[cut:])
    assert [right("r", o).count for o in other] == [right("r", o).count for o in found]


@steady
@given(several())
def test_the_worst_case_is_worse_than_every_attack_and_what_is_left_of_the_clean_answers(found):
    worst = worst_case({outcome.label: outcome for outcome in found})
    assert worst.n == len(found[0])
    assert all(worst.count <= right("r", outcome).count for outcome in found)
    assert worst.count >= sum(right("r", outcome).count for outcome in found) - (len(found) - 1) * worst.n
    n_right = int((found[0].clean_prediction == found[0].y).sum())
    assert worst.count == n_right - int(broken(*found).sum())
    if len(found) == 1:
        assert worst.value == found[0].robust_accuracy


@steady
@given(several())
def test_what_only_some_attacks_break_is_what_they_take_from_the_worst_case(found):
    """An attack beside others: the share that it alone fools is by how much the worst case falls because of it."""
    if len(found) < 2:
        return
    alone = only_by("alone", found[:1], found[1:])
    everyone, others = (worst_case({o.label: o for o in some}) for some in (found, found[1:]))
    assert alone.count == others.count - everyone.count
    assert only_by("none", found[1:2], found).count == 0
    assert alone.count <= broken(found[0]).sum()


@steady
@given(st.integers(1, 300), st.floats(0, 1), st.data())
def test_a_finding_is_suspicious_where_chance_cannot_explain_it(n, limit, data):
    share = Share("fooled", data.draw(st.integers(0, n)), n)
    low, high = share.bounds
    assert low <= share.value <= high
    found = finding("check", "nothing", share, limit)
    assert found.status == ("suspicious" if low > limit else "passed")
    assert found.status == "passed" or share.value > limit
    assert found.text.startswith(f"fooled: {share.value:.1%} (")
    assert Finding("check", "nothing", None, limit, "no model").status == "not run"
