"""How cells on one machine come to GPUs of their own."""

import os
import subprocess
import sys

from overfit_lab.sweeps.devices import take, try_to_take, visible_devices

THREE = ["0", "1", "2"]


def test_devices_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_devices(lambda: 2) == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-5f/1")
    assert visible_devices(lambda: 8) == ["3", "GPU-5f/1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_devices(lambda: 8) == []


def test_nobody_gets_what_another_has(tmp_path):
    first, held = try_to_take(tmp_path / "devices", THREE, 1)
    second, also = try_to_take(tmp_path / "devices", THREE, 2)
    assert (first, second) == (["0"], ["1", "2"])
    assert try_to_take(tmp_path / "devices", THREE, 1) is None
    held.close()
    assert try_to_take(tmp_path / "devices", THREE, 2) is None  # and what was tried is let go of
    third, last = try_to_take(tmp_path / "devices", THREE, 1)
    assert third == ["0"]
    also.close()
    last.close()


def test_cells_share_what_they_may_share_the_freest_first(tmp_path):
    held = [try_to_take(tmp_path / "devices", ["0", "1"], 1, n_shares=2) for _ in range(4)]
    assert [taken for taken, _ in held] == [["0"], ["1"], ["0"], ["1"]]
    assert try_to_take(tmp_path / "devices", ["0", "1"], 1, n_shares=2) is None
    held[2][1].close()
    assert try_to_take(tmp_path / "devices", ["0", "1"], 2, n_shares=2) is None  # two are two different ones
    for _, lock in held:
        lock.close()


def test_a_process_sees_its_own_alone_until_it_ends(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    code = (
        "import sys, os; from pathlib import Path; from overfit_lab.sweeps.devices import take\n"
        "held = take(Path(sys.argv[1]), ['4', '5'], 1); print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True)\n"
        "sys.stdin.read(); os._exit(9)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline().strip() == "4"
    with take(tmp_path, visible_devices(lambda: 0), 1):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "5"
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
        assert try_to_take(tmp_path, ["4", "5"], 1) is None
        child.communicate()
        with take(tmp_path, visible_devices(lambda: 0), 1):
            assert os.environ["CUDA_VISIBLE_DEVICES"] == "4"
