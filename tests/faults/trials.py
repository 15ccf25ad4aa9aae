"""One command under one fault, and what must hold: nothing lost, one line, no leftovers, and the same result at last.

Each command runs in a process of its own that a server forks, which has loaded the package.
"""

import atexit
import contextlib
import functools
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

from faults.faulty_disk import ENDING, KILLED, Fault, FaultyDisk

LIMIT = float(os.environ.get("OVERFIT_LAB_LIMIT", "60"))
"""Seconds after which a command counts as hung; more on a machine that does much else."""
DENIES_UNLINK = ("EROFS", "EACCES", "EIO")
"""Faults under which what was begun cannot even be removed."""


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status, what it said on stderr, operations at which the fault could come.

    statuses: of each of its commands that were run. seconds: how long it took.
    """

    status: int
    err: str
    n: int
    statuses: tuple = ()
    seconds: float = 0.0

    @property
    def lines(self):
        """What it complained of; progress and notes are left out, and the cells of a sweep."""
        said = [line for line in self.err.splitlines() if line.startswith("overfit-lab: ")]
        return [line for line in said if not line.startswith(("overfit-lab: data ", "overfit-lab: cell "))]


class Server:
    """A process that has loaded the package, and forks one for each run of commands; it ends with this process."""

    def __init__(self):
        paths = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "faults.served"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip

    def ask(self, request):
        """Send a request; the exit status, or "hung", and the seconds."""
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def stop(self):
        """End it."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@functools.cache
def server():
    """That of this process, begun when it is first asked for."""
    begun = Server()
    atexit.register(begun.stop)
    return begun


def run_commands(commands, folder, fault=None, tolerated=()):
    """Run commands in a folder, one after the other as long as they end well or as is tolerated, all in one process.

    Args:
        commands: words after ``overfit-lab``; or the name of a function of the scenarios.
        folder: the current folder, whose files the fault is about.
        fault: what goes wrong.
    """
    said = folder.parent / f"{folder.name}.err"
    counts = folder.parent / f"{folder.name}.counts"
    counts.unlink(missing_ok=True)
    request = {
        "commands": commands, "folder": str(folder), "fault": fault and asdict(fault), "said": str(said),
        "counts": str(counts), "tolerated": tolerated, "limit": LIMIT,
    }  # fmt: skip
    ended = server().ask(request)
    n, statuses = json.loads(counts.read_text()) if counts.exists() else (0, ())
    err = said.read_text(errors="replace") if said.exists() else ""
    return Ended(ended["status"], err, n, tuple(statuses), ended["seconds"])


def work(request):
    """What a forked process does; it does not return."""
    from faults import scenarios
    from overfit_lab.cli.main import run
    from overfit_lab.files.disk import replace_disk

    for number, (path, mode) in enumerate(((os.devnull, "rb"), (os.devnull, "wb"), (request["said"], "wb"))):
        with open(path, mode) as file:
            os.dup2(file.fileno(), number)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    os.chdir(request["folder"])
    _fork_workers()
    disk = FaultyDisk(request["folder"], request["fault"] and Fault(**request["fault"]))
    replace_disk(disk)
    status, statuses = 1, []
    try:
        for command in request["commands"]:
            status = getattr(scenarios, command)() if isinstance(command, str) else run(list(command))
            statuses.append(status)
            if status and status not in request["tolerated"]:
                break
    except BaseException:
        traceback.print_exc()
        status = 1
    Path(request["counts"]).write_text(json.dumps([disk.n, statuses]))
    sys.stderr.flush()
    os._exit(status)


def _fork_workers():
    """Have processes that the command starts inherit the disk."""
    get = multiprocessing.get_context
    multiprocessing.get_context = lambda name=None: get("fork" if name in ("spawn", "forkserver") else name)


@dataclass(frozen=True)
class Scenario:
    """A command that is hit, and how it is gone on with.

    Args:
        name: of the scenario.
        act: commands that are hit by the fault.
        again: the commands after it, as the user would type them, from the folder as it was left.
        before: commands that prepare the folder, without a fault.
        state: what is compared at last, from the folder.
        reads: commands that must be able to read whatever was left: exit status 0, or 2 with one line.
    """

    name: str
    act: tuple
    again: object
    state: object
    before: tuple = ()
    reads: tuple = ()


def problems_of(scenario, fault, template, folder, expected):
    """What is wrong after one fault, in clauses; and whether the fault came at all.

    Args:
        template: the prepared folder, which is copied.
        folder: where to; it is removed afterwards where nothing is wrong.
        expected: the state of an undisturbed run.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(template, folder, symlinks=True)
    hit = run_commands(scenario.act, folder, fault)
    wrong = [*_ended_wrongly(hit, fault), *_left_wrongly(hit, folder, fault)]
    for path in leftovers(folder):  # some time later
        os.utime(folder / path, (0, 0))
    repeated = run_commands([*scenario.reads, *scenario.again(folder)], folder, tolerated=(2,))
    if _is_raw(repeated.err):
        wrong.append(f"says something raw afterwards: {repeated.err[-300:]!r}")
    if repeated.status != 0:
        wrong.append(f"it cannot be gone on with: {repeated.status}, {repeated.err[-300:]!r}")
    else:
        state = scenario.state(folder)
        wrong += [f"{key} differs" for key in expected.keys() | state.keys() if expected.get(key) != state.get(key)]
        wrong += [f"{path} is left" for path in leftovers(folder)]
    if not wrong:
        shutil.rmtree(folder)
    return wrong, hit


def _ended_wrongly(hit, fault):
    if fault.kind in ENDING:
        cell_was_hit = hit.status == 1 and f"exit status {KILLED}" in hit.err
        fine = hit.status in (0, KILLED) or cell_was_hit
        return [] if fine else [f"ended with {hit.status}: {hit.err[-300:]!r}"]
    wrong = []
    if hit.status not in (0, 1, 2):
        wrong.append(f"ended with {hit.status}: {hit.err[-300:]!r}")
    if _is_raw(hit.err):
        wrong.append(f"says something raw: {hit.err[-300:]!r}")
    if hit.status in (1, 2) and len(hit.lines) != 1:
        wrong.append(f"{len(hit.lines)} lines instead of one: {hit.err[-300:]!r}")
    if hit.status in (1, 2) and not re.search(r"(^overfit-lab: |/)[\w./-]+: ", hit.err, re.MULTILINE):
        wrong.append(f"names no file: {hit.err[-200:]!r}")
    return wrong


def _left_wrongly(hit, folder, fault):
    if fault.kind in ENDING:
        return []
    wrong = [] if fault.kind in DENIES_UNLINK else [f"{path} is left at once" for path in leftovers(folder)]
    for path in folder.rglob("run.json"):
        with contextlib.suppress(ValueError):
            if standing_of(path) == "running":
                wrong.append(f"{path.parent.name} says running")
    return wrong


def standing_of(path):
    """How the run of a run.json stands."""
    from overfit_lab.records.status import standing

    return standing(path.parent, json.loads(path.read_text()))


def leftovers(folder):
    """Files that a write under way leaves, but for an evaluation that goes on where it was."""
    found = list(folder.rglob(".*.partial"))
    return [p.relative_to(folder) for p in [*found, *folder.rglob(".*.before")]]


def _is_raw(text):
    return "Traceback" in text or "unexpected " in text or "Exception ignored" in text


def places(n, most):
    """Up to so many numbers below n, spread evenly, the first and the last among them."""
    return sorted({round(i * (n - 1) / max(1, most - 1)) for i in range(most)}) if n > most else range(n)


def count(scenario, kind, template, folder):
    """Operations of a scenario at which a kind of fault can come."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(template, folder, symlinks=True)
    ended = run_commands(scenario.act, folder, Fault(kind, -1))
    assert ended.status == 0, ended
    shutil.rmtree(folder)
    return ended.n


def prepare(scenario, folder):
    """Prepare the folder of a scenario, and the state at the end of an undisturbed run."""
    folder.mkdir(parents=True)
    ended = run_commands(scenario.before, folder) if scenario.before else Ended(0, "", 0)
    assert ended.status == 0, ended
    copy = folder.parent / f"{folder.name}-undisturbed" / "run"
    shutil.copytree(folder, copy, symlinks=True)
    ended = run_commands(scenario.act, copy)
    assert ended.status == 0, ended
    state = scenario.state(copy)
    shutil.rmtree(copy)
    return state
