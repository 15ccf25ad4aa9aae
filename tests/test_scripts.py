"""Every script and notebook beside the package imports names that exist."""

import ast
import importlib
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(
    path
    for folder in ("runs/reference", "docs", "benchmarks", "notebooks", "examples")
    for pattern in ("*.py", "*.ipynb")
    for path in (ROOT / folder).glob(pattern)
)


def source(path):
    if path.suffix == ".py":
        return path.read_text()
    cells = [cell["source"] for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    return "\n".join(line for cell in cells for line in "".join(cell).splitlines() if not line.startswith("%"))


def names_of(path):
    """Names that a module of the same folder binds at its top."""
    bound = set()
    for node in ast.walk(ast.parse(source(path))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound.update(alias.asname or alias.name for alias in node.names)
    return bound


def is_there(module, name):
    try:
        return hasattr(importlib.import_module(module), name) or bool(importlib.import_module(f"{module}.{name}"))
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_script_imports_from_us_is_there(path):
    for node in ast.walk(ast.parse(source(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("overfit_lab"):
                    importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            neighbour = path.with_name(f"{node.module}.py")
            for name in (alias.name for alias in node.names):
                if neighbour.is_file() and node.module not in sys.stdlib_module_names:
                    assert name in names_of(neighbour), f"{neighbour.name} has no {name}"
                elif node.module.startswith("overfit_lab"):
                    assert is_there(node.module, name), f"{node.module} has no {name}"
