"""Every benchmark, one table: `python benchmarks/run.py [NAME ...]`."""

from __future__ import annotations

import argparse
import importlib
import math
import sys
import time
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from harness import Result, matrix_rates, save  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from setting import Setting  # noqa: E402

ORDER = (
    *("training_step", "iiw", "hessian", "per_sample_norms", "memory", "live_probes", "derivative_checks"),
    *("growth", "streaming", "dynamics", "choices"),
)


def show(result: Result, console: Console) -> None:
    """The table of a benchmark, and its bars."""
    columns = list(dict.fromkeys(key for row in result.rows for key in row.figures))
    table = Table(title=result.title, title_justify="left", box=None, header_style="bold", title_style="bold")
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    for row in result.rows:
        table.add_row(row.contender, *(number(row.figures.get(column, math.nan)) for column in columns))
    console.print(table)
    for bar in result.bars:
        sign = "at least" if bar.more_is_better else "at most"
        console.print(
            f"  {'met    ' if bar.met else 'NOT MET'} {bar.what}: {number(bar.reached)} ({sign} {number(bar.asked)})"
        )
    console.print(f"  [dim]{result.seconds:.0f} s[/dim]\n")


def number(value: float) -> str:
    """Three significant digits."""
    if value != value:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def main() -> None:
    """Run, show, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ORDER)}; default: all")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch, for every contender (default 1)")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "latest.json", help="where the figures go")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    given = parser.parse_args()
    strange = [name for name in given.names if name not in ORDER]
    if strange:
        parser.error(f"benchmark {strange[0]!r}: expected {', '.join(ORDER)}")
    torch.set_num_threads(given.threads)
    console = Console(width=None if sys.stdout.isatty() else 150)
    results, best = {}, {}
    for name in given.names or ORDER:
        started = time.perf_counter()
        rates = matrix_rates(256 if given.quick else 1024)
        best = {kind: max(rate, best.get(kind, 0.0)) for kind, rate in rates.items()}
        console.print("Matrix products now: " + ", ".join(f"{kind} {rate:.0f} GFLOP/s" for kind, rate in rates.items()))
        result = importlib.import_module(name).measure(Setting(rates, given.quick))
        result.seconds = time.perf_counter() - started
        results[name] = result
        show(result, console)
        save(results, best, given.out)
    console.print(f"saved in {given.out}")


if __name__ == "__main__":
    main()
