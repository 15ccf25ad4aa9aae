"""Only what is new is read, whatever happens to the file meanwhile."""

import os

import numpy as np
import pytest

from overfit_lab.errors import RunFolderError
from overfit_lab.records import layout
from overfit_lab.records.reader import Run
from overfit_lab.records.records import Record
from overfit_lab.views.live import following
from overfit_lab.views.live.following import Followed, Follower, Pace
from overfit_lab.views.live.numbers import Numbers
from written import begin, records_of, write


def lines(*epochs, **how):
    return "".join(r.to_json() + "\n" for epoch in epochs for r in records_of(epoch, **how)).encode()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "records.jsonl"


def test_each_look_gives_what_was_added(path):
    follower = Follower(path)
    assert follower.look() == (False, [])
    for epoch in (1, 2, 3):
        with open(path, "ab") as file:
            file.write(lines(epoch))
        assert follower.look() == (False, records_of(epoch))
        assert follower.look() == (False, [])


def test_each_line_is_parsed_once(path, monkeypatch):
    parsed = []
    monkeypatch.setattr(following.Record, "from_json", lambda line: parsed.append(line))
    follower = Follower(path)
    for epoch in range(1, 21):
        with open(path, "ab") as file:
            file.write(lines(epoch))
        follower.look()
    assert len(parsed) == len(lines(*range(1, 21)).splitlines())


@pytest.mark.parametrize("cut", [1, 5, 100])
def test_a_torn_line_waits_for_its_end(path, cut):
    whole = lines(1, 2)
    path.write_bytes(whole[:-cut])
    follower = Follower(path)
    _, found = follower.look()
    with open(path, "ab") as file:
        file.write(whole[-cut:])
    again, rest = follower.look()
    assert not again
    assert found + rest == records_of(1) + records_of(2)
    assert len(rest) >= 1


def test_a_file_that_was_cut_back_is_read_again(path):
    path.write_bytes(lines(1, 2, 3))
    follower = Follower(path)
    follower.look()
    os.truncate(path, len(lines(1, 2)))
    assert follower.look() == (True, records_of(1) + records_of(2))
    path.unlink()
    assert follower.look() == (True, [])
    assert follower.look() == (False, [])


def test_a_file_that_was_cut_back_and_has_grown_meanwhile_is_read_again(path):
    path.write_bytes(lines(1, 2, 3))
    follower = Follower(path)
    follower.look()
    path.write_bytes(lines(1, 2) + lines(3, 4, 5, seconds=2.5))
    again, found = follower.look()
    assert again
    assert found == records_of(1) + records_of(2) + [r for e in (3, 4, 5) for r in records_of(e, seconds=2.5)]


def test_a_damaged_line_is_named(path):
    path.write_bytes(lines(1) + b'{"epoch": 3}\n')
    n = len(records_of(1)) + 1
    follower = Follower(path)
    for _ in range(2):
        with pytest.raises(RunFolderError, match=f"line {n}: not a record"):
            follower.look()


def test_a_look_in_pieces_gives_the_same_records(path):
    path.write_bytes(lines(1, 2))
    follower, found = Follower(path), []
    while (piece := follower.look(most=3))[1]:
        assert not piece[0]
        assert len(piece[1]) <= 3
        found += piece[1]
    assert found == records_of(1) + records_of(2)


def test_a_long_run_that_is_read_in_pieces_has_the_same_numbers(tmp_path, monkeypatch):
    with begin(tmp_path / "run") as writer:
        write(writer, 1, 12)
        writer.append_posthoc(records_of(12))
    whole = Followed(tmp_path / "run")
    whole.look()
    monkeypatch.setattr(following, "PIECE", 5)
    pieces = Followed(tmp_path / "run")
    pieces.look()
    for name, split, inputs in (("acc_adv", "test", "adversarial"), ("acc_clean", "test", "clean")):
        first, second = (run.numbers.series("evaluation", name, split, inputs) for run in (whole, pieces))
        assert first.epochs.tolist() == second.epochs.tolist() == list(range(1, 13))
        assert first.values.tolist() == second.values.tolist()


def test_series_are_those_of_the_reader(tmp_path):
    with begin(tmp_path / "run") as writer:
        write(writer, 1, 12)
        small = Record(5, 50, "gradient-norm", "full", "train", "adversarial", "", 99.0, None, 100, None)
        large = Record(6, 60, "gradient-norm", "full", "train", "adversarial", "", 77.0, 0.5, 900, None)
        gone = Record(7, 70, "gradient-norm", "other", "train", "adversarial", "", None, None, 900, None)
        again = Record(4, 40, "gradient-norm", "full", "train", "adversarial", "", 55.0, None, 500, None)
        writer.append([small, gone, again])  # of the same number at the same size the later one stands
        writer.append_posthoc([large])
    followed = Followed(tmp_path / "run")
    followed.look()
    for source in (("gradient-norm", "full", "train", "adversarial"), ("evaluation", "acc_adv", "test", "adversarial")):
        theirs = Run.open(tmp_path / "run").series(*source)
        ours = followed.numbers.series(*source)
        np.testing.assert_array_equal(ours.epochs, theirs["epoch"])
        np.testing.assert_array_equal(ours.values, theirs["value"])
        np.testing.assert_array_equal(ours.stderr, theirs["stderr"])
    assert not len(followed.numbers.series("gradient-norm", "other", "train", "adversarial"))


def test_a_resumed_run_is_followed_back(tmp_path):
    with begin(tmp_path / "run") as writer:
        write(writer, 1, 9)
        followed = Followed(tmp_path / "run")
        followed.look()
        writer.keep_until(6)
        followed.look()
        assert followed.numbers.epoch == 6
        write(writer, 7, 7, overfits=False)
        followed.look()
        assert followed.numbers.epoch == 7
        assert len(followed.numbers.series("evaluation", "acc_adv", "test", "adversarial")) == 7


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_damaged_run_json_is_one_line(tmp_path, content):
    begin(tmp_path / "run").close()
    followed = Followed(tmp_path / "run")
    layout.info_path(tmp_path / "run").write_text(content)
    with pytest.raises(RunFolderError, match=r"run\.json: damaged"):
        followed.look()


def test_the_pace_is_that_between_the_first_and_the_last_epoch_seen():
    pace = Pace()
    for epoch, at in ((0, 5.0), (1, 10.0), (1, 11.0), (3, 30.0)):
        pace.seen(epoch, at)
    assert pace.seconds == 10.0
    pace.seen(2, 50.0)  # cut back
    assert pace.seconds is None
    pace.seen(4, 54.0)
    assert pace.seconds == 2.0


def test_numbers_know_the_last_epoch():
    numbers = Numbers()
    numbers.add([])
    assert numbers.epoch == 0
    assert numbers.series("no", "such").last is None
