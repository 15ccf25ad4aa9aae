"""Files are opened, made, replaced and removed by the room for files alone, so that a fault can come at any of them."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "overfit_lab"
TOUCHING = {"open", "read_text", "read_bytes", "write_text", "write_bytes", "unlink", "rmtree", "mkdir", "touch"}
"""Beside what replaces a file, which tests/files/test_writing.py looks for."""
MAY = {
    "cli/main.py": "the streams of the process",
    "processes/signals.py": "the streams of the process",
    "data/decoding.py": "images in memory",
    "data/placing.py": "what the system says of memory",
    "data/webdataset.py": "an archive in a file that is open",
    "importing/source.py": "an archive in memory",
    "records/environment.py": "what the system says of itself",
    "records/writer.py": "the lock of a folder",
    "sweeps/devices.py": "the locks of devices",
    "sweeps/work.py": "a cell's log, which its output becomes",
    "views/published/reader.py": "the package's own tables",
    "views/report/page.py": "the package's own scripts",
}
"""Who else touches what; files of a run are none of it."""


def touches(path):
    """Names of the calls that touch a file: methods of paths, of os and shutil, and open itself."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id == "open":
            yield "open"
        elif isinstance(node.func, ast.Attribute) and node.func.attr in TOUCHING:
            owner = ast.unparse(node.func.value)
            if owner not in ("disk()", "Run", "layout", "webbrowser"):
                yield node.func.attr


def test_files_are_touched_by_one_room():
    found = {
        str(path.relative_to(PACKAGE))
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).parts[0] != "files" and any(touches(path))
    }
    assert found == set(MAY)
