"""What is shown of several runs at once, and the time that is left for them."""

import pytest

from overfit_lab.cli.jobs import Estimate, RunsProgress, duration


def test_the_time_left_counts_what_was_done_since_the_beginning():
    estimate = Estimate(4)
    assert estimate.seconds_left(1.0) is None
    estimate.reported("resumed", 0.5)
    assert estimate.seconds_left(1.0) is None
    estimate.reported("resumed", 0.75)
    assert estimate.seconds_left(10.0) == pytest.approx(10 / 0.25 * 3.25)
    estimate.ended("resumed")
    estimate.ended("failed at once")
    assert estimate.share() == 0.5
    assert estimate.seconds_left(10.0) == pytest.approx(10 / 1.5 * 2)


def test_without_a_terminal_a_line_says_that_a_cell_ended(capfd):
    with RunsProgress(4, 1) as progress:
        progress.started("a")
        progress.progressed("a", 0.5, "epoch 1/2")
        progress.ended("a", None)
        progress.ended("b", "a reason")
    lines = capfd.readouterr()[1].splitlines()
    assert lines == ["a: completed (2 of 4, 0 s left)", "b: failed, a reason (3 of 4, 0 s left)"]


def test_on_a_terminal_there_are_bars(monkeypatch, capfd):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with RunsProgress(2) as progress:
        progress.started("cell-one")
        progress.progressed("cell-one", 0.5, "epoch 1/2")
        progress.ended("cell-one", None)
        progress.started("cell-two")
    err = capfd.readouterr()[1]
    assert "all runs" in err
    assert "1 of 2" in err
    assert "cell-two" in err


def test_durations():
    assert [duration(s) for s in (0, 59.4, 60, 3599, 3600)] == ["0 s", "59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min"]
