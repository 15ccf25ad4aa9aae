"""The rooms, the order in which they import each other, and the page that shows them."""

import ast
import itertools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "overfit_lab"
sys.path.insert(0, str(ROOT / "docs"))
import draw_architecture as page  # noqa: E402


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        yield name.removesuffix(".__init__"), path


def test_every_room_is_on_the_page():
    there = {path.stem for path in PACKAGE.iterdir() if not path.name.startswith(("__", "."))}
    assert there == set(page.rooms())
    assert len(there) <= 20


def test_a_room_imports_only_rooms_that_stand_above_it():
    places = {room: place for room, (place, _) in page.rooms().items()}
    wrong = [
        f"{name} imports {target}"
        for name, path in modules()
        if (room := page.room_of(name)) is not None
        for target in page.imports(path)
        if (other := page.room_of(target)) not in (None, room) and places[other] >= places[room] > 0
    ]
    assert not wrong


def test_the_ground_imports_nothing_but_itself():
    places = {room: place for room, (place, _) in page.rooms().items()}
    assert all(
        places[target] == 0 for room, targets in page.arrows().items() if places[room] == 0 for target in targets
    )


def test_the_picture_is_current():
    assert (ROOT / "docs" / "architecture.svg").read_text() == page.draw(), "run python docs/draw_architecture.py"


def test_no_box_of_the_picture_hides_another():
    floor = page.floors(page.drawn())
    places = sorted((floor[room], page.COLUMNS[room] * page.STEP_X) for room in floor)
    rows = [(x, y) for (a, x), (b, y) in itertools.pairwise(places) if a == b]
    assert all(right - left > page.WIDTH for left, right in rows)


def test_no_box_lies_outside_the_picture():
    text = page.draw()
    width, height = map(int, page.re.search(r'viewBox="0 0 (\d+) (\d+)"', text).groups())
    boxes = [tuple(map(int, found)) for found in page.re.findall(r'<rect x="(-?\d+)" y="(-?\d+)"', text)]
    assert len(boxes) > 10
    assert all(0 <= x <= width - page.WIDTH and 0 <= y <= height - page.HEIGHT for x, y in boxes)


def test_the_page_names_files_that_are_there():
    text = (ROOT / "docs" / "architecture.md").read_text()
    ways = page.re.findall(r"`((?:[a-z_]+/)+(?:[a-z_]+\.py)?)`", text.partition("## The way of a batch")[2])
    assert len(ways) > 10
    assert [way for way in ways if not (PACKAGE / way).exists()] == []
    for room, cells in _rows(text):
        for name in page.re.findall(r"`([a-z_/]+(?:\.py|/))`", cells):
            assert (PACKAGE / room / name).exists(), f"{room}/{name}"


def _rows(text):
    for line in text.partition("## The rooms")[2].partition("\n## ")[0].splitlines():
        cells = line.split("|")
        if found := page.re.match(r" `([a-z]+)/`", cells[1] if len(cells) > 1 else ""):
            yield found[1], " ".join(cells[3:])


def test_no_import_cycle():
    """Neither when modules are loaded nor, within a room, by imports that wait in a function."""
    known = dict(modules())
    graph = {
        name: {t for t in page.imports(path) if t in known and t != name}
        | {t.rpartition(".")[0] for t in page.imports(path) if t not in known and t.rpartition(".")[0] in known}
        - {name}
        for name, path in known.items()
    }
    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        path.append(name)
        for target in sorted(graph[name]):
            visit(target)
        path.pop()
        done.add(name)

    for name in graph:
        visit(name)


def test_packages_hold_no_code_beyond_exports():
    for _, path in modules():
        assert "util" not in path.stem
        if path.name == "__init__.py":
            body = ast.parse(path.read_text()).body
            named = [node for node in body if isinstance(node, ast.FunctionDef)]
            assert all(node.name in ("__getattr__", "__dir__") for node in named), path
            statements = (ast.Expr, ast.ImportFrom, ast.Import, ast.Assign, ast.If, ast.FunctionDef)
            assert all(isinstance(node, statements) for node in body), path


HEAVY = ("torch", "pandas", "matplotlib", "sklearn", "scipy", "torchvision")


@pytest.mark.parametrize(
    "code",
    [
        "import overfit_lab",
        "import overfit_lab.config, overfit_lab.config.recipes, overfit_lab.config.catalog",
        "from overfit_lab.cli.main import run; assert run(['--help']) == 0",
        "from overfit_lab.cli.main import run; assert run(['--version']) == 0",
        *(
            f"from overfit_lab.cli.main import run; assert run({[*command.split(), '--help']}) == 0"
            for command in (
                "demo",
                "train",
                "probe",
                "figure",
                "compare",
                "evaluate",
                "check",
                "table",
                "watch",
                "import",
                "diagnose",
                "report",
                "list",
                "config",
                "cost",
                "data",
                "data fetch",
                "sweep",
                "sweep run",
                "sweep status",
                "sweep resume",
                "sweep collect",
            )
        ),
        "from overfit_lab.cli.main import run; assert run(['train', 'digits-herd']) == 2",
    ],
)
def test_starts_without_heavy_libraries(code):
    check = f"import sys; {code}; loaded = [m for m in {HEAVY!r} if m in sys.modules]; assert not loaded, loaded"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
