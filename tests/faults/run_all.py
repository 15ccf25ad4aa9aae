"""Every fault at every operation: `make faults`. Counts go to docs/faults.json and the page that shows them."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults import faults_page
from faults.faulty_disk import KINDS, Fault
from faults.scenarios import SCENARIOS
from faults.trials import count, places, prepare, problems_of


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(SCENARIOS), help="scenarios, by commas")
    parser.add_argument("--kinds", default=",".join(KINDS), help="faults, by commas")
    parser.add_argument("--most", type=int, default=10**9, help="operations of a scenario and fault that are tried")
    parser.add_argument("--jobs", type=int, default=1, help="scenarios at a time")
    parser.add_argument("--out", type=Path, help="file for the counts")
    asked = parser.parse_args()
    began, names = time.time(), asked.only.split(",")
    if asked.jobs > 1:
        rows = side_by_side(names, asked)
    else:
        rows = [row for name in names for row in tried(name, asked.kinds.split(","), asked.most, began)]
    if asked.out is not None:
        asked.out.write_text(json.dumps({"seconds": round(time.time() - began), "rows": rows}, indent=1) + "\n")
        if asked.out.resolve() == faults_page.COUNTS:
            faults_page.PAGE.write_text(faults_page.page_with(faults_page.PAGE.read_text()))
    wrong = sum(row["ends"].get("wrong", 0) for row in rows)
    print(f"{sum(row['tried'] for row in rows)} faults, {wrong} with something wrong")
    return 1 if wrong else 0


def side_by_side(names, asked):
    """The rows of scenarios that are tried in processes of their own."""

    def of(name):
        with tempfile.TemporaryDirectory() as place:
            out = Path(place) / "counts.json"
            options = ["--only", name, "--kinds", asked.kinds, "--most", str(asked.most), "--out", str(out)]
            subprocess.run([sys.executable, __file__, *options], check=False)
            return json.loads(out.read_text())["rows"]

    with ThreadPoolExecutor(asked.jobs) as pool:
        return [row for rows in pool.map(of, names) for row in rows]


def tried(name, kinds, most, began):
    """A row a kind of fault: operations, how many were tried, and how the command ended."""
    with tempfile.TemporaryDirectory() as place:
        template = Path(place) / "template"
        expected = prepare(SCENARIOS[name], template)
        for kind in kinds:
            n = count(SCENARIOS[name], kind, template, Path(place) / "count")
            ends, slowest = Counter(), 0.0
            for at in places(n, most):
                fault = Fault(kind, at, lasting=kind.startswith("E") and at % 2 == 1)
                wrong, hit = problems_of(SCENARIOS[name], fault, template, Path(place) / "run", expected)
                ends["wrong" if wrong else str(hit.status)] += 1
                slowest = max(slowest, hit.seconds)
                if wrong:
                    print(f"WRONG {name}, {fault}: {wrong}", flush=True)
            row = {"scenario": name, "fault": kind, "operations": n, "tried": ends.total(), "ends": dict(ends)}
            row["slowest_seconds"] = round(slowest, 1)
            print(f"{name:10} {kind:12} {n:4} operations, {dict(ends)}, {time.time() - began:.0f} s", flush=True)
            yield row


if __name__ == "__main__":
    sys.exit(main())
