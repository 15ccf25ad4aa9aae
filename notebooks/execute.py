"""Execute the notebooks and save their outputs in them: `make notebooks`. With --check, execute without saving."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
WIDGET = "application/vnd.jupyter.widget-view+json"
"""A live widget is nothing without its kernel: in a saved notebook its static picture stands in its place."""


def execute(path: Path, *, save: bool) -> nbformat.NotebookNode:
    """Run one notebook from its own folder; the executed notebook."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(HERE)}}).execute()
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for cell in notebook.cells:
        cell.metadata = {}
        without_widgets(cell)
    if save:
        nbformat.write(notebook, path)
    return notebook


def without_widgets(cell: nbformat.NotebookNode) -> None:
    """Drop live widgets from a cell's outputs where a static picture stands beside them."""
    for output in cell.get("outputs", []):
        if "image/png" in output.get("data", {}):
            output["data"].pop(WIDGET, None)


def main(arguments: list[str]) -> None:
    """Every notebook, or those named."""
    names = [argument for argument in arguments if not argument.startswith("--")]
    for path in sorted(HERE.glob("*.ipynb")):
        if not names or path.stem in names:
            execute(path, save="--check" not in arguments)
            print(path.stem, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
