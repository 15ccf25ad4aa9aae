"""Sweeps of tests: a tiny base, the command line, and when two run folders are the same run."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from overfit_lab.cli.main import run
from overfit_lab.config import to_yaml
from tiny import tiny_config


def small_config(**changes):
    probes = {"every": 2, "metrics": ["calibration", "memorisation"], "n": 40}
    return tiny_config(**{"probes": probes, **changes})


def write_base(folder, **changes):
    (folder / "tiny.yaml").write_text(to_yaml(small_config(**changes)))


def write_sweep(folder, text, name="sweep.yaml"):
    (folder / name).write_text(f"base: tiny.yaml\ndevice: cpu\n{text}\n")


def command(*arguments):
    return [sys.executable, "-W", "ignore", "-m", "overfit_lab", "sweep", *arguments]


def sweep(folder, *arguments, timeout=300, **options):
    return subprocess.run(
        command(*arguments), cwd=folder, capture_output=True, text=True, timeout=timeout, check=False, **options
    )


def manifest(folder):
    return json.loads((folder / "sweep.json").read_text())


def cells(folder):
    """Folders of cells by their names in words."""
    return {entry["name"]: folder / key for key, entry in manifest(folder)["cells"].items()}


def wait_for(condition, seconds=90):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found


def inside(folder, *arguments):
    """The command in this process, for what trains nothing: exit status, stdout and stderr."""
    before, handler = Path.cwd(), signal.getsignal(signal.SIGTERM)
    out, err = io.StringIO(), io.StringIO()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = run(["sweep", *arguments])
    finally:
        os.chdir(before)
        signal.signal(signal.SIGTERM, handler)
    return SimpleNamespace(returncode=status, stdout=out.getvalue(), stderr=err.getvalue())


def states(folder):
    done = inside(folder.parent, "status", folder.name, "--json")
    assert done.returncode == 0, done.stderr
    return {cell["name"]: cell["state"] for cell in json.loads(done.stdout)}
