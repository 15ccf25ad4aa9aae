"""Damaged folders through every command that reads: what a case is, how it is drawn, and what must not happen.

``python tests/faults/folders.py --count 1000 --seed 1`` draws a thousand of them; ``--spec FILE`` replays one.
"""

import contextlib
import hashlib
import json
import os
import random
import shutil
import stat
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

from faults import mutations
from faults.bases import BASES
from faults.running import BAD, command

FOLDER = "folder"
"""Name of the damaged folder in the place of a case."""
SMALL = ["--n", "8", "--steps", "1"]


@dataclass
class Case:
    """One damaged folder.

    Args:
        base: which of the bases is damaged.
        mutations: name, file below the folder, seed; applied in this order.
        commands: those that are given the folder.
    """

    base: str
    mutations: list
    commands: list
    seed: int | None = None

    @classmethod
    def read(cls, path):
        content = json.loads(Path(path).read_text())
        return cls(**{key: content[key] for key in ("base", "mutations", "commands")})


@dataclass
class Verdict:
    """What became of a case: outcomes of its commands, and what is wrong."""

    case: Case
    outcomes: list = field(default_factory=list)
    wrong: list = field(default_factory=list)


# commands; {} is the folder, {out} a new file or folder


def commands_of(base):
    """Every reading command that takes such a folder, as lists of arguments."""
    from overfit_lab.config.catalog import FIGURES, PROBES, TABLES

    formats = ("table", "markdown", "latex", "csv", "json")
    found = [["compare", "{}", "--format", style] for style in formats]
    found += [["table", "{}", "--kind", kind, "--format", style] for kind in TABLES for style in formats]
    found += [["table", "{}", "--published"], ["table", "{}", "--attack", "pgd-1,pgd-20"]]
    found += [["figure", name, "{}", "--out", f"{{out}}.{kind}"] for name in FIGURES for kind in ("png", "svg")]
    found += [["report", "{}", "--out", "{out}.html"], ["diagnose", "{}"], ["watch", "{}", "--once"]]
    found += [["import", "{}", "--out", "{out}"], ["import", "{}", "--out", "{out}", "--dry-run"]]
    found += [
        ["import", "{}/records.jsonl", "--out", "{out}"],
        ["config", "{}/config.yaml"],
        ["cost", "{}/config.yaml"],
    ]
    if base == "logs":
        files = (
            "{}/log.csv",
            "{}/log.jsonl",
            "{}/log.json",
            "{}/mlruns",
            "{}/output.log",
            "{}/trades.log",
            "{}/mlflow.db",
            "{}",
        )
        found = [["import", file, "--out", "{out}"] for file in files]
        return [*found, *([*arguments, "--dry-run"] for arguments in found)]
    if base == "sweep":
        found += 8 * [["sweep", "status", "{}"], ["sweep", "status", "{}", "--json"], ["sweep", "collect", "{}"]]
        found += 3 * [["sweep", "collect", "{}", "--out", f"{{out}}.{kind}"] for kind in ("csv", "parquet", "md")]
        found += 3 * [["sweep", "collect", "{}", "--figure", "{out}.png"], ["sweep", "resume", "{}", "--jobs", "1"]]
        return found
    measured = [["probe", "{}", "--metric", name, "--no-save", "--n", "8", "--json"] for name in PROBES]
    measured += [
        ["probe", "{}", "--metric", "calibration", "--checkpoint", which] for which in ("all", "best", "2", "initial")
    ]
    measured += [
        ["probe", "{}", "--metric", "iiw", "--n", "8", "--prior", prior] for prior in ("held-out", "{}", "{}@1")
    ]
    measured += [
        ["probe", "{}", "--metric", "calibration", "--budget", "50%"],
        ["probe", "{}", "--metric", "calibration", "--weights", "ema"],
    ]
    measured += [["evaluate", "{}", *SMALL, "--checkpoint", which] for which in ("final", "all", "best", "2")]
    measured += [
        ["evaluate", "{}", "--n", "16", "--steps", "1"],
        ["evaluate", "{}", "--weights", "ema", *SMALL, "--json"],
    ]
    measured += [["evaluate", "{}", "--attack", "transfer", "--source", "{}@1", *SMALL]]
    measured += [
        ["check", "{}", "--n", "16", "--only", "more-steps,deterministic", "--queries", "2"],
        ["check", "{}", "--n", "8", "--only", "deterministic"],
    ]
    weights = ["--model", "mlp", "--data", "digits", "--set", "model.hidden=16", "--out", "{out}", *SMALL]
    measured += [
        ["evaluate", f"{{}}/checkpoints/{name}.safetensors", *weights] for name in ("best", "last", "epoch-0001")
    ]
    measured += 6 * [["train", "{}/config.yaml", "--out", "{}", "--resume", "--device", "cpu"]]
    measured += [
        [
            "train",
            "digits-hard",
            "--set",
            "labels={name: kd, teacher: {}}",
            "--set",
            "epochs=1",
            "--set",
            "data.n_train=32",
            "--out",
            "{out}",
        ]
    ]
    return found + 2 * measured


READING = ("compare", "table", "figure", "report", "diagnose", "watch", "import", "config", "cost")
"""Commands that change nothing in the folder."""

COSTLY = ("report", "cost")
"""Commands that take seconds; they come a tenth as often as others."""


def reads_alone(arguments):
    """Whether a command must leave the folder as it is."""
    if arguments[0] == "sweep":
        return arguments[1] != "resume"
    return arguments[0] in READING or "--no-save" in arguments


# drawing


def draw_case(seed, bases, n_commands=3, among=BASES):
    """The case of a seed: one to three mutations of a folder, and commands that read it.

    Args:
        n_commands: how many; None: each, but those that take seconds with one folder in ten.
    """
    stream = random.Random(seed)
    base = stream.choice([name for name in (*BASES, "run", "run", "run") if name in among])
    by_kind = {}
    for path in sorted(bases[base].rglob("*")):
        if path.is_file():
            name = path.relative_to(bases[base]).as_posix()
            by_kind.setdefault(_sort(name), []).append(name)
    struck = []
    for _ in range(stream.choice((1, 1, 1, 2, 3))):
        file = stream.choice(by_kind[stream.choice(sorted(by_kind))])
        mutation = stream.choice(mutations.KINDS[mutations.kind_of(Path(file))])
        struck.append([mutation.__name__, file, stream.randrange(2**32)])
    return Case(base, struck, _commands(stream, base, [file for _, file, _ in struck], n_commands), seed)


def _commands(stream, base, struck, most):
    """Each command as often as others, what takes seconds a tenth as often; a log is read by itself."""
    by_command, chosen = {}, []
    for arguments in commands_of(base):
        if base != "logs" or any(f"{{}}/{file}".startswith(arguments[1]) for file in struck):
            by_command.setdefault(arguments[0], []).append(arguments)
    if most is None:
        return [
            stream.choice(by_command[name])
            for name in sorted(by_command)
            if name not in COSTLY or stream.random() < 0.1
        ]
    for _ in range(4 * most):
        arguments = stream.choice(by_command[stream.choice(sorted(by_command))])
        seldom = arguments[0] in COSTLY and stream.random() < 0.9
        if arguments not in chosen and not seldom and len(chosen) < most:
            chosen.append(arguments)
    return chosen


def _sort(name):
    """What sort of file it is: cells of a sweep and checkpoints are many, run.json is one."""
    path = Path(name)
    return (
        path.name
        if path.suffix in (".json", ".jsonl", ".yaml") or "/" not in name
        else f"{path.parent.name}/{path.suffix}"
    )


# running


def run_case(case, bases, place=None):
    """The verdict on a case, in a folder that is removed afterwards."""
    verdict = Verdict(case)
    with tempfile.TemporaryDirectory(dir=place, ignore_cleanup_errors=True) as name, surrounded(Path(name)) as root:
        folder = root / FOLDER
        shutil.copytree(bases[case.base], folder)
        for mutation, file, seed in case.mutations:
            _strike(mutation, folder / file, seed)
        for number, arguments in enumerate(case.commands):
            _watch(verdict, root, folder, arguments, number)
        _release(root)
    return verdict


def _strike(mutation, path, seed):
    """One mutation, where the earlier ones left a file that it can be done to."""
    errors = (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError)
    with contextlib.suppress(*errors):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) and status.st_size < 10**7:
            mutations.BY_NAME[mutation](random.Random(seed), path)


@contextlib.contextmanager
def surrounded(root):
    """A place with things outside of the folder that nobody may touch, and code that leaves a mark if it runs."""
    for name in ("outside", "home", "here", "tmp"):
        (root / name).mkdir()
    (root / "outside" / "file.txt").write_text("not yours\n")
    mark = root / "tmp" / "ran"
    code = "import os\nopen(os.environ['OVERFIT_LAB_CANARY'], 'w').close()\nclass Bomb: pass\n"
    (root / "here" / "canary.py").write_text(code)
    sys.modules.pop("canary", None)
    before = {name: os.environ.get(name) for name in ("HOME", "OVERFIT_LAB_CANARY", "COLUMNS")}
    os.environ |= {"HOME": str(root / "home"), "OVERFIT_LAB_CANARY": str(mark), "COLUMNS": "120"}
    try:
        yield root
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _watch(verdict, root, folder, arguments, number):
    """Run one command on the folder and note what is wrong."""
    out = root / "tmp" / f"out{number}"
    filled = [text.replace("{out}", str(out)).replace("{}", str(folder)) for text in arguments]
    inside, outside = listing(folder), listing(root, without=(folder, root / "tmp"))
    outcome = command(filled, folder=root / "here")
    wrong = list(outcome.problems)
    if (root / "tmp" / "ran").exists():
        wrong.append("CODE RAN")
        (root / "tmp" / "ran").unlink()
    if listing(root, without=(folder, root / "tmp")) != outside:
        wrong.append("touched outside")
    if reads_alone(arguments) and (changed := _changes(inside, listing(folder))):
        wrong.append(f"changed {', '.join(changed[:3])}")
    beside = [path for path in (root / "tmp").iterdir() if path.name.split(".")[0] == out.name]
    if outcome.status == BAD and (beside or any(".partial" in name for name in listing(folder).keys() - inside.keys())):
        wrong.append("left something half-written")
    verdict.outcomes.append(outcome)
    if wrong:
        outcome.problems = wrong
        verdict.wrong.append((arguments, str(outcome)))


def _changes(before, after):
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def listing(root, without=()):
    """Every name below a folder with what it is, how long, and what it holds; only plain files are opened."""
    found = {}
    for place, folders, files in os.walk(os.fsencode(root)):
        folders[:] = [name for name in folders if Path(os.fsdecode(os.path.join(place, name))) not in without]
        for name in (*folders, *files):
            path = os.path.join(place, name)
            status = os.lstat(path)
            what = [stat.S_IFMT(status.st_mode), status.st_mode if stat.S_ISREG(status.st_mode) else 0]
            if stat.S_ISREG(status.st_mode):
                what += [status.st_size, status.st_mtime_ns, status.st_ino]
                if status.st_size < 10**7:
                    with contextlib.suppress(PermissionError), open(path, "rb") as file:
                        what.append(hashlib.blake2b(file.read(), digest_size=8).digest())
            elif stat.S_ISLNK(status.st_mode):
                what.append(os.readlink(path))
            found[os.fsdecode(os.path.relpath(path, os.fsencode(root)))] = tuple(what)
    return found


def _release(root):
    """Let everything be removed."""
    for place, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(place, name)
            if not os.path.islink(path):
                os.chmod(path, 0o700)


def minimal(verdict, bases, place=None):
    """The case with those mutations and commands alone without which nothing is wrong."""
    case = verdict.case
    best = Case(case.base, case.mutations, [verdict.wrong[0][0]], case.seed)
    for mutation in list(best.mutations):
        fewer = Case(best.base, [one for one in best.mutations if one is not mutation], best.commands, case.seed)
        if fewer.mutations and run_case(fewer, bases, place).wrong:
            best = fewer
    return best


def write_spec(case, folder, name):
    path = Path(folder) / f"{name}.json"
    content = {"kind": "folder", **{key: value for key, value in asdict(case).items() if key != "seed"}}
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path
