"""Write docs/gallery.md and its pictures from docs/gallery/*.yaml, one file a registered figure.

`python docs/draw_gallery.py` draws all; with names, those pictures alone; with --text, none.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import yaml

from overfit_lab.config.catalog import FIGURES
from overfit_lab.records.reader import Run

DOCS = Path(__file__).resolve().parent
RUNS = DOCS.parent / "runs" / "reference"
PAGE, PICTURES = DOCS / "gallery.md", DOCS / "images" / "gallery"
KEYS = ("title", "runs", "shows", "paper", "ours")
DPI, N_COLORS = 110, 96

HEAD = """# Gallery

Every figure that `overfit-lab figure` draws, from the committed records. Written by `python docs/draw_gallery.py` from
`docs/gallery/*.yaml`; a new figure adds a file there. What was run and how: [reference runs](reference-runs.md). Our
runs are far smaller than the paper's (ResNet-18, all of CIFAR-10, 200 epochs), so curves can be compared in shape only.
"""
PART = """
## {name}: {title}

![{name}](images/gallery/{name}.png)

{shows}

```sh
{command}
```

*The paper*: {paper}

*Ours*: {ours}
"""


def entries() -> dict[str, dict]:
    """What the page says of each figure: those of the paper first, in its order."""
    found = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in (DOCS / "gallery").glob("*.yaml")}
    for name, entry in found.items():
        if sorted(entry) != sorted(KEYS):
            raise SystemExit(f"docs/gallery/{name}.yaml: expected the keys {', '.join(KEYS)}")
    return {name: found[name] for name in sorted(found, key=lambda name: (not name.startswith("fig"), name))}


def command(name: str, patterns: list[str]) -> str:
    """What draws the figure, from the root of the repository."""
    folders = [f"runs/reference/{pattern}" for pattern in patterns]
    lines, line = [], f"overfit-lab figure {name}"
    for word in [*folders, f"--out {name}.png"]:
        if len(line) + len(word) > 110:
            lines.append(line)
            line = "   "
        line += f" {word}"
    return " \\\n".join([*lines, line])


def text() -> str:
    """The page."""
    parts = [
        PART.format(
            name=name,
            title=entry["title"],
            command=command(name, entry["runs"]),
            **{key: entry[key].strip() for key in ("shows", "paper", "ours")},
        )
        for name, entry in entries().items()
    ]
    return HEAD + "".join(parts)


def runs_of(entry: dict) -> list[Run]:
    """The committed runs that a figure is drawn of."""
    return [Run.open(path) for pattern in entry["runs"] for path in sorted(RUNS.glob(pattern))]


def draw(name: str, entry: dict) -> Path:
    """The picture of one figure, small: few colours and screen resolution."""
    from PIL import Image

    from overfit_lab.views.figures.style import SUFFIXES, save

    path = PICTURES / f"{name}.png"
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder) / "figure.png"
        save(FIGURES[name](runs_of(entry)), large)
        with Image.open(large) as image:
            share = DPI / SUFFIXES[".png"]["dpi"]
            size = (round(image.width * share), round(image.height * share))
            small = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    few = small.quantize(N_COLORS, method=Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    return path


def main(arguments: list[str]) -> None:
    """Write the page, and all pictures or those named."""
    names = [argument for argument in arguments if not argument.startswith("--")]
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, entry in entries().items():
        if "--text" not in arguments and (not names or name in names):
            path = draw(name, entry)
            print(f"{path.name} {path.stat().st_size / 1e3:.0f} kB", flush=True)
    PAGE.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
