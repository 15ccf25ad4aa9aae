"""Draw docs/architecture.svg from the imports of the package: `python docs/draw_architecture.py`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

DOCS = Path(__file__).resolve().parent
PACKAGE = DOCS.parent / "overfit_lab"
GROUND = "the ground"
COLUMNS = {
    GROUND: 2,
    "files": 2,
    "config": 1,
    "processes": 3,
    "records": 1,
    "importing": 0,
    "data": 3,
    "models": 2,
    "methods": 2,
    "theory": 0.9,
    "probes": 2,
    "training": 2,
    "views": 3.6,
    "evaluation": 0.95,
    "monitor": 3,
    "sweeps": 2,
    "cli": 2,
}
"""Where a room stands from left to right; its floor follows from the imports."""
WIDTH, HEIGHT, STEP_X, STEP_Y, MARGIN = 172, 50, 195, 84, 24


@cache
def rooms() -> dict[str, tuple[int, str]]:
    """Of every room, by name, its place in the order and what it is for, from the table in architecture.md.

    Rooms of one row are names for one place: none of them imports another.
    """
    found = {}
    for line in (DOCS / "architecture.md").read_text().partition("## The rooms")[2].partition("\n## ")[0].splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        names = re.findall(r"`([a-z_]+)(?:/|\.py)`", cells[0])
        if line.startswith("|") and names:
            found |= {name: (len({place for place, _ in found.values()}), cells[1]) for name in names}
    return found


def imports(path: Path) -> Iterator[str]:
    """The modules of the package that a file imports, wherever in it, but not for type checking alone."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.unparse(branch.test)
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def room_of(module: str) -> str | None:
    """The room that a dotted name lies in, such as ``probes``."""
    parts = module.split(".")
    return parts[1] if parts[0] == "overfit_lab" and len(parts) > 1 and parts[1] in rooms() else None


def arrows() -> dict[str, set[str]]:
    """Which rooms each room imports."""
    found: dict[str, set[str]] = {room: set() for room in rooms()}
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room in found:
            found[room] |= {target for name in imports(path) if (target := room_of(name)) is not None} - {room}
    return found


def drawn() -> dict[str, set[str]]:
    """The arrows of the picture: files at the top are one box, and what follows from other arrows is left out."""
    places = rooms()

    def box(name: str) -> str:
        return name if (PACKAGE / name).is_dir() else GROUND

    graph: dict[str, set[str]] = {}
    for room, targets in arrows().items():
        down = {box(target) for target in targets if places[target][0] < places[room][0]}  # a test finds the others
        graph.setdefault(box(room), set()).update(down - {box(room)})

    def below(name: str) -> set[str]:
        return {name}.union(*(below(target) for target in graph[name]))

    return {
        room: {t for t in targets if not any(t in below(other) for other in targets - {t})}
        for room, targets in graph.items()
    }


def floors(graph: dict[str, set[str]]) -> dict[str, int]:
    """How many rooms lie below each, one on another."""

    def floor(room: str) -> int:
        return 1 + max((floor(target) for target in graph[room]), default=-1)

    return {room: floor(room) for room in graph}


def draw() -> str:
    """The SVG."""
    graph, says = drawn(), {name: text for name, (_, text) in rooms().items()}
    says[GROUND] = "nouns, errors, seeds"
    floor = floors(graph)
    top = max(floor.values())
    left = min(COLUMNS.values())
    centre = {
        room: (MARGIN + WIDTH / 2 + (COLUMNS[room] - left) * STEP_X, MARGIN + (top - floor[room]) * STEP_Y + HEIGHT / 2)
        for room in graph
    }
    width = max(x for x, _ in centre.values()) + WIDTH / 2 + MARGIN
    height = MARGIN * 2 + top * STEP_Y + HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" font-family="sans-serif" '
        'role="img" aria-label="The rooms of overfit_lab and what each imports">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#555"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height}" fill="#fff"/>',
    ]
    for room, targets in sorted(graph.items()):
        for target in sorted(targets):
            (x1, y1), (x2, y2) = centre[room], centre[target]
            parts.append(
                f'<line x1="{x1:.0f}" y1="{y1 + HEIGHT / 2:.0f}" x2="{x2:.0f}" y2="{y2 - HEIGHT / 2:.0f}" '
                'stroke="#555" marker-end="url(#tip)"/>'
            )
    for room, (x, y) in sorted(centre.items()):
        parts.append(
            f'<rect x="{x - WIDTH / 2:.0f}" y="{y - HEIGHT / 2:.0f}" width="{WIDTH}" height="{HEIGHT}" rx="6" '
            'fill="#F3F0E8" stroke="#333"/>'
        )
        parts.append(
            f'<text x="{x:.0f}" y="{y - 4:.0f}" text-anchor="middle" font-size="14" font-weight="bold">{room}</text>'
        )
        parts.append(f'<text x="{x:.0f}" y="{y + 14:.0f}" text-anchor="middle" font-size="11">{says[room]}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    (DOCS / "architecture.svg").write_text(draw())
