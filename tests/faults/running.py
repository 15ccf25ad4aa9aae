"""One command in this process, with a time limit, and what it must not do."""

import contextlib
import faulthandler
import io
import os
import re
import resource
import signal
import sys
import time
import traceback
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

LIMIT = 60
"""Seconds after which a command counts as hung, where it stands still; of work, where it had to share the machine."""
TICK, IDLE = 5, 0.02
"""Seconds between looks after that, and the share of them below which it stands still."""
MEMORY = 2 * 10**9
"""Bytes that a command may map beyond what the process has mapped before it."""
TO_REFUSE = 3 * 10**8
"""Bytes that a command may use beyond what was used before it, where it refuses what it is given."""
RAW = re.compile(r"unexpected \w|Traceback \(most|^\S*Warning: |MemoryError", re.MULTILINE)
DONE, FAILED, BAD, INTERRUPTED, ONSET = 0, 1, 2, 130, 3


class Late(BaseException):
    """The time limit is over."""


@dataclass
class Outcome:
    """How a command ended, and what is wrong with that."""

    arguments: list
    status: int
    out: str
    err: str
    seconds: float
    problems: list = field(default_factory=list)
    where: list = field(default_factory=list)

    def __str__(self):
        said = self.err.strip().splitlines()[-1:] or self.out.strip().splitlines()[-1:]
        wrong, words = "; ".join(self.problems) or "fine", " ".join([*said, *self.where])
        return f"rc {self.status}, {self.seconds:.1f} s, {wrong} | {words[:400]}"


def command(arguments, *, limit=LIMIT, interrupt=None, folder=None):
    """The outcome of a command line.

    Args:
        arguments: after ``overfit-lab``.
        limit: seconds after which it is given up.
        interrupt: seconds after which Ctrl-C is pressed.
        folder: the current folder while it runs.
    """
    from overfit_lab.cli import main

    out, err = _stream(), _stream()
    began, where, complain = time.monotonic(), [], main._complain

    def complaining(text, status=BAD):
        if text.startswith("unexpected"):
            where.append(_place(sys.exc_info()[2]))
        return complain(text, status)

    patch = mock.patch.object(main, "_complain", complaining)
    memory = _memory("VmRSS", begin=True)
    with patch, _surroundings(folder), _bounded(), _alarms(limit, interrupt):
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
                warnings.simplefilter("default")
                status = main.run([str(argument) for argument in arguments])
        except Late:
            status = "hung"
        except SystemExit as error:
            status = f"SystemExit {error.code}"
        except BaseException as error:  # nothing may come through
            status = f"{type(error).__name__}: {error}"
    outcome = Outcome(list(map(str, arguments)), status, _text(out), _text(err), time.monotonic() - began, where=where)
    outcome.problems = problems(outcome)
    more = _memory("VmHWM") - memory
    if outcome.status == BAD and more > TO_REFUSE:
        outcome.problems.append(f"{more / 1e6:.0f} MB to refuse it")
    return outcome


def problems(outcome):
    """What is wrong with the way a command ended."""
    wrong = []
    allowed = {DONE, BAD, INTERRUPTED}
    if outcome.arguments[:1] in (["train"], ["sweep"]):
        allowed.add(FAILED)
    if outcome.status not in allowed:
        wrong.append(f"status {outcome.status}")
    if RAW.search(outcome.err):
        wrong.append("raw")
    lines = outcome.err.splitlines()
    if outcome.status == BAD and not (lines and lines[-1].startswith("overfit-lab: ")):
        wrong.append(f"{len(lines)} lines on stderr")  # what is wrong is one line; notes and progress may come before
    if any(character in outcome.err + outcome.out for character in "\x1b\x07\x9b"):
        wrong.append("control characters")
    return wrong


def _memory(key, begin=False):
    """Bytes of memory in use, or the most since ``begin`` (VmHWM); 0 where the system does not say."""
    try:
        if begin:
            Path("/proc/self/clear_refs").write_text("5")
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:")), 0)


def _place(trace):
    """Where in the package an error came from."""
    frames = [frame for frame in traceback.extract_tb(trace) if "overfit_lab" in frame.filename]
    return " < ".join(f"{frame.filename.rpartition('overfit_lab/')[2]}:{frame.lineno}" for frame in frames[:-4:-1])


def _stream():
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)


def _text(stream):
    stream.flush()
    return stream.buffer.getvalue().decode("utf-8", "replace")


@contextlib.contextmanager
def _surroundings(folder):
    """The current folder, the search path, warnings of signals and the modules as they were, afterwards."""
    import torch

    before, path, threads = os.getcwd(), list(sys.path), torch.get_num_threads()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        if folder is not None:
            os.chdir(folder)
        yield
    finally:
        os.chdir(before)
        sys.path[:] = path
        torch.set_num_threads(threads)
        for number, handler in handlers.items():
            if handler is not None:
                signal.signal(number, handler)


@contextlib.contextmanager
def _bounded():
    """No more memory than there is reason for; who asks for more gets a MemoryError."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextlib.contextmanager
def _alarms(limit, interrupt):
    """Raise at the time limit; send the interrupt before it, where one is wanted."""
    began = seen = time.process_time()

    def ring(number, frame):
        nonlocal seen
        if steps and steps.pop() == "interrupt":
            signal.setitimer(signal.ITIMER_REAL, limit, TICK)
            raise KeyboardInterrupt
        before, seen = seen, time.process_time()
        if seen - began > limit or seen - before < IDLE * TICK:
            raise Late

    steps = ["interrupt"] if interrupt is not None else []
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit if interrupt is None else interrupt, TICK)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def quick():
    """What makes thousands of commands in one process faster and says where it died, for the scripts."""
    import functools

    import sklearn.datasets
    import torch
    import typer.main

    faulthandler.enable()
    torch.set_num_threads(1)
    typer.main.get_command = functools.cache(typer.main.get_command)
    sklearn.datasets.load_digits = functools.cache(sklearn.datasets.load_digits)
