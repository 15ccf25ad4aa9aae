"""Each kind of file has one place that reads it, within limits; no other module asks a library for it."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "overfit_lab"
OWNERS = {
    "yaml": {"files/yaml_text.py"},
    "json.load": set(),
    "json.loads": {"files/json_text.py", "evaluation/store.py"},
    "json.JSONDecoder": {"files/json_text.py"},
    "np.load": set(),
    "zipfile.ZipFile": {"files/archive.py"},
    "torch.load": {"models/weights.py"},
    "safetensors": set(),
    "gzip": {"importing/source.py"},
}
"""By what a library calls it, or its own name where importing it says enough: who may. The evaluation's settings are
put through JSON and back, to be compared with those of a file."""


def uses(path):
    for node in ast.walk(ast.parse(path.read_text())):
        call = node.func if isinstance(node, ast.Call) else None
        if isinstance(call, ast.Attribute) and isinstance(call.value, ast.Name):
            yield f"{call.value.id}.{call.attr}"
        elif isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_files_are_read_by_their_owners_alone():
    wrong = [
        f"{name} in {path.relative_to(PACKAGE)}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for name in set(uses(path)) & set(OWNERS)
        if str(path.relative_to(PACKAGE)) not in OWNERS[name]
    ]
    assert not wrong
