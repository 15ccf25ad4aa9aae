"""Print the table of all methods on digits from the committed records: `python runs/reference/table.py`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from overfit_lab.config.catalog import TABLES
from overfit_lab.config.recipes.methods import METHODS
from overfit_lab.records.reader import Run
from overfit_lab.records.summary import RAW, compare
from overfit_lab.views.figures.methods import row_title
from overfit_lab.views.tables.as_text import as_markdown
from overfit_lab.views.tables.options import TableOptions

HERE = Path(__file__).resolve().parent
HEAD = (
    "method",
    "clean best / final / diff",
    "robust best / final / diff",
    "adv. ECE",
    "grad. norm",
    "IIW / 1000 nats",
    "Hessian trace",
)


def runs() -> list[Run]:
    """Every method's runs on noisy digits, all seeds."""
    found = [HERE / f"digits-{method}-seed{seed}" for method in METHODS for seed in (0, 1, 2)]
    return [Run.open(folder) for folder in found if folder.is_dir()]


def rows() -> pd.DataFrame:
    """One row a method, by final robust accuracy; raw weights beside averaged ones are left out."""
    table = compare(runs())
    table["others"] = [sorted(set(table["weights"]) - {RAW})] * len(table)
    table["method"] = [row_title(row) for _, row in table.iterrows()]
    raw_beside_others = table["method"].str.endswith("(raw weights)")
    return table[~raw_beside_others].sort_values("robust_final", ascending=False, ignore_index=True)


def markdown() -> str:
    """The table as Markdown; diffs with their standard deviation over seeds."""
    lines = [HEAD, ("---", *["---:"] * (len(HEAD) - 1))]
    for _, row in rows().iterrows():
        kinds = [
            f"{row[f'{kind}_best']:.1f} / {row[f'{kind}_final']:.1f} / "
            f"{round(row[f'{kind}_diff'], 1) + 0.0:.1f} ± {row[f'{kind}_diff_std']:.1f}"
            for kind in ("clean", "robust")
        ]
        numbers = (
            f"{row['ece_adv_final']:.2f}",
            f"{row['grad_norm_final']:.2f}",
            f"{row['iiw_final'] / 1000:.1f}",
            f"{row['hessian_trace_final']:.0f}",
        )
        lines.append((str(row["method"]), *kinds, *numbers))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


ATTACKED = ("hard", "smooth", "sglr", "trades", "trades-sglr")
"""Methods on digits that AutoAttack was run on with three seeds."""


def attacked(name: str) -> str:
    """The table of natural accuracy, PGD-20 and AutoAttack as Markdown, its rows alone.

    Args:
        name: ``digits`` or ``cifar10-small``; the latter with the paper's rows.
    """
    methods = ATTACKED if name == "digits" else ("hard", "sglr")
    found = [Run.open(HERE / f"{name}-{method}-seed{seed}") for method in methods for seed in (0, 1, 2)]
    table = TABLES["methods"](found, TableOptions(published=name != "digits"))
    return "\n".join(line for line in as_markdown(table).splitlines() if line.startswith("|"))


if __name__ == "__main__":
    print(markdown())
