"""Draw damaged folders and configurations, run commands on them, and count how these ended.

    python tests/faults/fuzz.py folders 1000 --seed 1           # prints the counts and what went wrong
    python tests/faults/fuzz.py configurations 500 --seed 1 --json counts.json --specs FOLDER
    python tests/faults/fuzz.py replay SPEC.json...
    python tests/faults/fuzz.py page                            # the counts of docs/fuzz.json into docs/reliability.md

A case that goes wrong is written as a spec, made smaller; one that is mended belongs in tests/faults/corpus.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("folders", "configurations", "replay", "page"))
    parser.add_argument("rest", nargs="*", help="how many; files to replay")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--among", help="bases that are damaged, by commas; default all")
    parser.add_argument("--commands", type=int, help="how many each folder is given to; default every one")
    parser.add_argument("--json", type=Path, help="file that the counts are added to")
    parser.add_argument("--specs", type=Path, help="folder for cases that went wrong")
    asked = parser.parse_args(arguments)
    from faults import bases, fuzz_page, running

    if asked.what == "page":
        fuzz_page.PAGE.write_text(fuzz_page.page_with(fuzz_page.PAGE.read_text()))
        return 0

    running.quick()
    with tempfile.TemporaryDirectory() as place:
        made = bases.make_bases(Path(place) / "bases")
        if asked.what == "replay":
            return replay_all(asked.rest, made)
        among = asked.among.split(",") if asked.among else bases.BASES
        count = int(asked.rest[0])
        if asked.what == "folders":
            counts = fuzz_folders(count, asked.seed, made, asked.specs, among, asked.commands)
        else:
            counts = fuzz_configurations(count, asked.seed, made, asked.specs)
    print(json.dumps(counts, indent=1))
    if asked.json is not None:
        add_counts(asked.json, asked.what, counts)
    return int(bool(counts["wrong"]))


def replay_all(paths, made):
    from faults.corpus_cases import replay

    wrong = 0
    for path in paths:
        said = replay(Path(path), made)
        wrong += bool(said)
        print(path, said or "fine", flush=True)
    return int(bool(wrong))


def fuzz_folders(count, seed, made, specs, among, n_commands):
    """Counts over damaged folders; their seeds follow from the one that is given."""
    from faults import folders

    tally, began = Tally("folders", seed), time.monotonic()
    for i in range(count):
        case = folders.draw_case(1_000_000 * seed + i, made, n_commands, among=among)
        verdict = folders.run_case(case, made)
        for outcome in verdict.outcomes:
            tally.add(outcome)
        if verdict.wrong:
            spec = folders.minimal(verdict, made) if specs is not None else case
            tally.complain(f"folder {case.seed}: {case.base} {spec.mutations}", verdict.wrong)
            if specs is not None:
                specs.mkdir(parents=True, exist_ok=True)
                folders.write_spec(spec, specs, f"folder-{case.seed}")
        if (i + 1) % 50 == 0:
            print(f"{i + 1} folders, {time.monotonic() - began:.0f} s, {len(tally.wrong)} wrong", flush=True)
    return tally.counts(count, time.monotonic() - began)


def fuzz_configurations(count, seed, made, specs):
    from faults import configurations

    tally, began = Tally("configurations", seed), time.monotonic()
    for i, (case, outcome) in enumerate(configurations.outcomes(count, seed, made["run"])):
        tally.add(outcome)
        if outcome.problems:
            tally.complain(f"configuration {i}: {case}", [(outcome.arguments, str(outcome))])
            if specs is not None:
                specs.mkdir(parents=True, exist_ok=True)
                (specs / f"configuration-{seed}-{i}.json").write_text(case.to_json())
        if (i + 1) % 50 == 0:
            print(f"{i + 1} configurations, {time.monotonic() - began:.0f} s, {len(tally.wrong)} wrong", flush=True)
    return tally.counts(count, time.monotonic() - began)


class Tally:
    """How commands ended."""

    def __init__(self, what, seed):
        self.what, self.seed = what, seed
        self.statuses, self.commands, self.wrong, self.slowest = Counter(), Counter(), [], 0.0

    def add(self, outcome):
        self.statuses[str(outcome.status)] += 1
        self.commands[outcome.arguments[0]] += 1
        self.slowest = max(self.slowest, outcome.seconds)

    def complain(self, name, wrong):
        self.wrong.append(name)
        for arguments, said in wrong:
            print(f"WRONG {name}\n    {' '.join(map(str, arguments))[:300]}\n    {said}", flush=True)

    def counts(self, n, seconds):
        return {
            "seed": self.seed,
            "cases": n,
            "commands": sum(self.statuses.values()),
            "statuses": dict(sorted(self.statuses.items())),
            "by_command": dict(sorted(self.commands.items())),
            "slowest_seconds": round(self.slowest, 1),
            "seconds": round(seconds),
            "wrong": len(self.wrong),
        }


def add_counts(path, what, counts):
    """Put the counts of a seed in the place of earlier ones of the same seed."""
    content = json.loads(path.read_text()) if path.is_file() else {}
    others = [one for one in content.get(what, []) if one["seed"] != counts["seed"]]
    content[what] = sorted([*others, counts], key=lambda one: one["seed"])
    path.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
