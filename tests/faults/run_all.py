"""Every fault at every operation: `make faults`. Counts go to docs/faults.json."""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.faulty_disk import KINDS, Fault
from faults.scenarios import SCENARIOS
from faults.trials import count, places, prepare, problems_of


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(SCENARIOS), help="scenarios, by commas")
    parser.add_argument("--kinds", default=",".join(KINDS), help="faults, by commas")
    parser.add_argument("--most", type=int, default=10**9, help="operations of a scenario and fault that are tried")
    parser.add_argument("--out", type=Path, help="file for the counts")
    given = parser.parse_args()
    began, rows, failures = time.time(), [], 0
    with tempfile.TemporaryDirectory() as place:
        for name in given.only.split(","):
            template = Path(place) / "templates" / name
            expected = prepare(SCENARIOS[name], template)
            for kind in given.kinds.split(","):
                n = count(SCENARIOS[name], kind, template, Path(place) / "count")
                tried, ends = 0, Counter()
                for at in places(n, given.most):
                    lasting = kind.startswith("E") and at % 2 == 1
                    fault = Fault(kind, at, lasting)
                    wrong, hit = problems_of(SCENARIOS[name], fault, template, Path(place) / "run", expected)
                    tried += 1
                    ends["wrong" if wrong else str(hit.status)] += 1
                    if wrong:
                        failures += 1
                        print(f"WRONG {name}, {kind} at {at}{' and later' * lasting}: {wrong}", flush=True)
                rows.append({"scenario": name, "fault": kind, "operations": n, "tried": tried, "ends": dict(ends)})
                print(f"{name:10} {kind:12} {n:4} operations, {tried:4} tried, {dict(ends)}, "
                      f"{time.time() - began:.0f} s", flush=True)  # fmt: skip
    if given.out is not None:
        given.out.write_text(json.dumps({"seconds": round(time.time() - began), "rows": rows}, indent=1) + "\n")
    print(f"{sum(row['tried'] for row in rows)} faults, {failures} with something wrong")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
