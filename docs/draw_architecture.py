"""Draw docs/architecture.svg: the rooms and the way data takes. `python docs/draw_architecture.py`."""

from __future__ import annotations

from pathlib import Path

BOXES = {
    "config": (20, 30, 150, 56, "config, recipes", "what a run is"),
    "build": (20, 130, 150, 56, "build", "the only wiring"),
    "parts": (20, 230, 150, 56, "components", "data, models, attacks, ..."),
    "training": (240, 130, 150, 56, "training", "emits typed events"),
    "probes": (240, 230, 150, 56, "probes", "measure a snapshot"),
    "metrics": (240, 330, 150, 56, "metrics", "pure functions"),
    "runs": (510, 180, 150, 56, "runs", "records on disk"),
    "evaluation": (510, 330, 150, 56, "evaluation, checks", "attacks on checkpoints"),
    "figures": (750, 110, 150, 56, "figures, tables", "from records alone"),
    "render": (750, 250, 150, 56, "notebooks, cli", "demo"),
}
ARROWS = [
    ("config", "build", "validated"),
    ("build", "training", "objects"),
    ("parts", "build", ""),
    ("training", "probes", "snapshot"),
    ("metrics", "probes", "numbers"),
    ("training", "runs", "evaluation"),
    ("probes", "runs", "measurements"),
    ("evaluation", "runs", "outcome of every sample"),
    ("runs", "figures", "DataFrames"),
    ("runs", "render", ""),
    ("figures", "render", ""),
]


def centre(name: str) -> tuple[float, float]:
    """Middle of a box."""
    x, y, w, h, *_ = BOXES[name]
    return x + w / 2, y + h / 2


def edge(name: str, towards: tuple[float, float]) -> tuple[float, float]:
    """Where the line from a box's middle to a point leaves the box."""
    _, _, w, h, *_ = BOXES[name]
    cx, cy = centre(name)
    dx, dy = towards[0] - cx, towards[1] - cy
    scale = min(w / 2 / abs(dx) if dx else 9e9, h / 2 / abs(dy) if dy else 9e9)
    return cx + dx * scale, cy + dy * scale


def draw() -> str:
    """The SVG."""
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 920 410" font-family="sans-serif" font-size="13">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#555"/></marker></defs>',
        '<rect width="920" height="410" fill="#fff"/>',
    ]
    for start, end, label in ARROWS:
        (x1, y1), (x2, y2) = edge(start, centre(end)), edge(end, centre(start))
        parts.append(
            f'<line x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}" stroke="#555" marker-end="url(#tip)"/>'
        )
        if label:
            mx, my = (x1 + x2) / 2, (y1 + y2) / 2
            vertical = abs(x2 - x1) < 5
            beside, above = f'x="{mx + 6:.0f}" y="{my + 4:.0f}"', f'x="{mx:.0f}" y="{my - 10:.0f}" text-anchor="middle"'
            place = beside if vertical else above
            parts.append(f'<text {place} font-size="11" fill="#555">{label}</text>')
    for x, y, w, h, title, text in BOXES.values():
        parts.append(f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="6" fill="#F3F0E8" stroke="#333"/>')
        at = f'x="{x + w / 2}" text-anchor="middle"'
        parts.append(f'<text {at} y="{y + h / 2 - 5}" font-weight="bold">{title}</text>')
        parts.append(f'<text {at} y="{y + h / 2 + 13}" fill="#333" font-size="11">{text}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("architecture.svg").write_text(draw())
