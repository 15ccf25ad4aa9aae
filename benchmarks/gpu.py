"""Some minutes on a GPU, in the order of what they are worth: `python benchmarks/gpu.py --minutes N --out DIR`.

Smoke (every recipe, every probe, resuming, compiling and graphs), a table of speeds, then PGD adversarial training and
SGLR as long as there is time for. Each result is a file of its own when it is there; what fails keeps its error.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tarfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from watched import Job, Results, Worker, do_all  # noqa: E402

from overfit_lab.config.catalog import PROBES  # noqa: E402
from overfit_lab.config.recipes import RECIPES  # noqa: E402
from overfit_lab.files.writing import replacing, write_json  # noqa: E402
from overfit_lab.records.environment import git_revision, now, versions  # noqa: E402

PARTS = ("smoke", "table", "hard", "sglr")
SMOKE, TABLE = (90.0, 0.15), (150.0, 0.25)
"""Most seconds of a part, and its most share of all."""
LAST = 10.0
"""Seconds kept for the archive."""
AT_ONCE = 4
"""Processes that share the card in the smoke part."""
BATCHES = (128, 512)
WAYS = {"eager": (False, False), "graph": (False, True), "compiled": (True, False), "compiled, graph": (True, True)}
"""Whether the step is compiled, and whether its attack is a graph."""


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    out: Path
    minutes: float
    data: str | None = None
    small: bool = False
    parts: tuple[str, ...] = PARTS
    recipes: tuple[str, ...] = ()
    probes: tuple[str, ...] = ()

    @property
    def device(self) -> str:
        """Of all jobs."""
        return "cpu" if self.small else "cuda"

    @property
    def common(self) -> dict[str, Any]:
        """Arguments of most jobs."""
        return {"device": self.device, "small": self.small}


def smoke(asked: Asked) -> list[Job]:
    """Every way to compute and every recipe two steps, a run that is resumed, every probe on it."""
    folder, common = str(asked.out / "runs" / "short"), asked.common
    ways = [
        Job(
            f"smoke-compute-{_slug(way)}",
            "gpu_jobs:two_steps",
            {"name": "paper-cifar10-hard", "sets": _sets(*WAYS[way]), **common},
        )
        for way in WAYS
    ]
    plain = _sets(compiled=False, graph=False)
    recipes = [
        Job(f"smoke-recipe-{name}", "gpu_jobs:two_steps", {"name": name, "sets": plain, **common}, limit=30)
        for name in asked.recipes or _every_kind_first(RECIPES)
    ]
    run = Job("smoke-resume", "gpu_jobs:resumed", {"folder": folder, "data": asked.data, **common})
    probes = [
        Job(
            f"smoke-probe-{name}", "gpu_jobs:probed", {"name": name, "folder": folder, "device": asked.device}, limit=30
        )
        for name in asked.probes or PROBES
    ]
    return [run, *ways, *probes, *recipes]


def _every_kind_first(names: Iterable[str]) -> list[str]:
    """Recipes, those of the paper's scale first: where time is short, others are left out."""
    return sorted(names, key=lambda name: (not name.startswith("paper-cifar10"), name))


def _sets(compiled: bool, graph: bool) -> tuple[str, ...]:
    return (f"compute.compile={str(compiled).lower()}", f"compute.graph={str(graph).lower()}")


def _slug(text: str) -> str:
    return text.replace(", ", "-")


def table(asked: Asked) -> list[Job]:
    """The machine's rates, then every way to make a training step; the likeliest first."""
    batches, precisions = ((4,), ("fp32", "bf16")) if asked.small else (BATCHES, ("bf16", "tf32", "fp32"))
    jobs = [Job(f"table-rate-{p}", "gpu_jobs:rate", {"precision": p, **asked.common}) for p in precisions]
    most = {"most_seconds": 0.2} if asked.small else {}
    for batch, precision in itertools.product(batches, precisions):
        common = {"batch": batch, "precision": precision, **asked.common, **most}
        ways = {way: ours for way, ours in WAYS.items() if not (asked.small and ours[0])}
        for way, (compiled, graph) in sorted(ways.items(), key=lambda item: item[1][0]):
            arguments = {"compiled": compiled, "graph": graph, **common}
            jobs.append(Job(f"table-{precision}-{batch}-{_slug(way)}", "gpu_jobs:ours", arguments))
        for which in ("naive", "torchattacks"):
            jobs.append(Job(f"table-{precision}-{batch}-{which}", "gpu_jobs:theirs", {"which": which, **common}))
    return sorted(jobs, key=lambda job: bool(job.arguments.get("compiled")))  # compiling takes longest


def rows(results: Results) -> list[dict[str, Any]]:
    """The table of speeds, with the share of the rate of matrix products in the same precision."""
    found = []
    for name, content in results.all.items():
        kind, _, rest = name.partition("-")
        precision, _, rest = rest.partition("-")
        if kind != "table" or precision == "rate":
            continue
        batch, _, way = rest.partition("-")
        measured = results.value(name)
        row = {"precision": precision, "batch": int(batch), "way": way, "status": content["status"]}
        rate = results.value(f"table-rate-{precision}").get("gflops")
        if rate and measured:
            row["share_of_rate"] = measured["gflops"] / rate
        error = {"error": content["error"]} if "error" in content else {}
        found.append({**row, **measured, **error})
    return found


def archive(asked: Asked) -> None:
    """All results and the runs' records in one file, without checkpoints."""
    with replacing(asked.out / "results.tar.gz") as file, tarfile.open(fileobj=file, mode="w:gz") as tar:
        for path in sorted(asked.out.rglob("*")):
            inside = path.relative_to(asked.out)
            if path.is_file() and inside.parts[0] in ("results", "runs", "summary.json") and _travels(inside):
                tar.add(path, str(inside))


def _travels(inside: Path) -> bool:
    return not {"checkpoints", "teachers"} & set(inside.parts)


def summary(asked: Asked, results: Results, began: str) -> None:
    """What was asked for, where, and how each job ended."""
    statuses = {name: content["status"] for name, content in results.all.items()}
    errors = {name: content["error"] for name, content in results.all.items() if "error" in content}
    content = {
        "began": began,
        "ended": now(),
        "minutes": asked.minutes,
        "parts": list(asked.parts),
        "dry_run": asked.small,
        "data": "made-up images" if asked.data is None else Path(asked.data).name,
        "revision": git_revision(),
        "versions": versions(),
        "device": results.value("device"),
        "statuses": statuses,
        "errors": errors,
        "table": rows(results),
    }
    write_json(asked.out / "summary.json", content)


def trainings(asked: Asked, part: str, seconds: float) -> list[Job]:
    """One training for as long as is said."""
    folder = str(asked.out / "runs" / part)
    arguments = {"name": f"paper-cifar10-{part}", "folder": folder, "data": asked.data, "seconds": seconds}
    return [Job(f"train-{part}", "gpu_jobs:trained", {**arguments, **asked.common}, limit=seconds + 20)]


def carry_out(asked: Asked) -> Results:
    """All parts that are asked for, within the minutes."""
    start, began = time.monotonic(), now()
    total = 60 * asked.minutes
    end = start + total - min(LAST, 0.1 * total)
    results = Results(asked.out / "results")
    workers = [Worker() for _ in range(1 if asked.small else AT_ONCE)]

    def part(jobs: Sequence[Job], until: float, several: bool = False) -> None:
        do_all(jobs, workers if several else workers[:1], results, min(until, end))
        summary(asked, results, began)
        archive(asked)

    try:
        part([Job("device", "gpu_jobs:devices", {"device": asked.device})], end)
        if "smoke" in asked.parts:
            jobs = smoke(asked)
            until = time.monotonic() + min(SMOKE[0], SMOKE[1] * total if not asked.small else 0.5 * total)
            part(jobs[:1], until)  # the probes want its run
            part(jobs[1:], until, several=True)
            for worker in workers[1:]:
                worker.leave()
        if "table" in asked.parts:
            part(table(asked), time.monotonic() + min(TABLE[0], TABLE[1] * total))
        for i, name in enumerate(left := [name for name in ("hard", "sglr") if name in asked.parts]):
            seconds = (end - time.monotonic() - 5) / (len(left) - i)
            part(trainings(asked, name, seconds), end)
    finally:
        for worker in workers:
            worker.leave()
    return results


def parse(arguments: Sequence[str] | None = None) -> Asked:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, required=True, help="most time of all, start and archive included")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results; runs in it are gone on with")
    parser.add_argument("--data", help="folder of CIFAR-10 as Parquet; without it images are made up")
    parser.add_argument("--dry-run", action="store_true", help="the same on the CPU, in miniature")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--recipes", default="", help="recipes of the smoke part; default: all")
    parser.add_argument("--probes", default="", help="probes of the smoke part; default: all")
    given = parser.parse_args(arguments)
    parts, recipes, probes = (
        tuple(filter(None, text.split(","))) for text in (given.parts, given.recipes, given.probes)
    )
    for kind, names, known in (("part", parts, PARTS), ("recipe", recipes, RECIPES), ("probe", probes, PROBES)):
        for name in names:
            if name not in known:
                parser.error(f"{kind} {name!r}: expected some of {', '.join(known)}")
    if not given.minutes > 0:
        parser.error(f"--minutes {given.minutes:g}: expected more than 0")
    if given.data is not None and not Path(given.data).is_dir():
        parser.error(f"--data {given.data}: no such folder; expected train-*.parquet in it")
    data = str(Path(given.data).resolve()) if given.data else None
    return Asked(given.out, given.minutes, data, given.dry_run, parts, recipes, probes)


def main() -> None:
    """Carry it out; the exit status says whether the device was there."""
    asked = parse()
    results = carry_out(asked)
    print(f"{asked.out / 'results.tar.gz'}: {(asked.out / 'results.tar.gz').stat().st_size / 1e6:.1f} MB")
    sys.exit(results.all["device"]["status"] != "ok")


if __name__ == "__main__":
    main()
