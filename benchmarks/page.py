"""Write the tables of docs/performance.md from a saved run: `python benchmarks/page.py [RESULTS.json]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "performance.md"
REFERENCE = HERE / "results" / "reference.json"
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


def page(text: str, content: dict[str, Any]) -> str:
    """The page's text with the tables in their place."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{tables(content)}\n{END}{after}"


def main() -> None:
    """Write the page."""
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else REFERENCE
    PAGE.write_text(page(PAGE.read_text(), json.loads(source.read_text())))


if __name__ == "__main__":
    main()
