"""Write the tables of docs/performance.md from saved runs: `python benchmarks/page.py [RESULTS.json...]`.

Of a benchmark that several of them have, the first one's table is shown.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "performance.md"
SHOWN = (HERE / "results" / "precision.json", HERE / "results" / "reference.json")
"""Files whose tables are shown, the latest first."""
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"


def tables(content: dict[str, Any]) -> str:
    """Every benchmark's table and bars as Markdown."""
    hardware, rates = content["hardware"], content["matrix_gflops"]
    products = ", ".join(f"{kind} {rate:.0f} GFLOP/s" for kind, rate in rates.items())
    pieces = [
        f"{hardware['cpu']}, {hardware['threads']} thread of {hardware['cores']} cores, torch "
        f"{content['versions']['torch']}, {content['date'][:10]}, revision {content['revision'][:7]}"
        f"{'; instruction sets ' + hardware['instructions'] if 'instructions' in hardware else ''}. "
        f"Matrix products: {products}."
    ]
    for result in content["benchmarks"].values():
        pieces += [f"### {result['title']}", _table(result), _bars(result)]
    return "\n\n".join(piece for piece in pieces if piece)


def _table(result: dict[str, Any]) -> str:
    columns = list(dict.fromkeys(key for row in result["rows"] for key in row["figures"]))
    lines = ["| | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    for row in result["rows"]:
        cells = [number(row["figures"].get(column)) for column in columns]
        lines.append(f"| {row['contender']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _bars(result: dict[str, Any]) -> str:
    lines = []
    for bar in result["bars"]:
        sign = "at least" if bar["more_is_better"] else "at most"
        met = "met" if bar["met"] else "**not met**"
        lines.append(f"- {bar['what']}: {number(bar['reached'])} ({sign} {number(bar['asked'])}): {met}")
    return "\n".join(lines)


def number(value: float | None) -> str:
    """Three significant digits."""
    if value is None or value != value:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def page(text: str, contents: Sequence[dict[str, Any]]) -> str:
    """The page's text with the tables in their place; of a benchmark that several files have, the first one's."""
    pieces, seen = [], set[str]()
    for content in contents:
        fresh = {name: result for name, result in content["benchmarks"].items() if name not in seen}
        seen |= fresh.keys()
        pieces.append(tables(content | {"benchmarks": fresh}))
    shown = "\n\n".join(pieces)
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{shown}\n{END}{after}"


def main() -> None:
    """Write the page."""
    sources = [Path(name) for name in sys.argv[1:]] or SHOWN
    PAGE.write_text(page(PAGE.read_text(), [json.loads(source.read_text()) for source in sources]))


if __name__ == "__main__":
    main()
