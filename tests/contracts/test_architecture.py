"""The arrows between rooms: who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "overfit_lab"
FORBIDDEN = [
    ("metrics", ("training", "probes", "runs", "figures", "tables", "cli", "build", "experiment")),
    ("figures", ("training", "probes", "metrics", "tables", "build", "experiment", "cli")),
    ("training", ("probes", "figures", "cli", "build", "experiment", "monitor")),
    ("probes", ("runs", "figures", "cli", "build", "experiment")),
    (
        "distributed",
        ("training", "probes", "runs", "figures", "models", "data", "labels", "cli", "build", "experiment"),
    ),
    ("priors", ("probes", "figures", "tables", "evaluation", "checks", "cli", "experiment")),
    ("runs", ("training", "probes", "metrics", "figures", "tables", "cli", "build", "experiment")),
    ("data", ("training", "probes", "runs", "models", "cli", "build", "experiment")),
    ("models", ("training", "probes", "runs", "data", "cli", "build", "experiment")),
    ("attacks", ("training", "probes", "runs", "data", "models", "labels", "objectives", "cli")),
    ("labels", ("training", "probes", "runs", "data", "models", "cli")),
    ("regularizers", ("training", "probes", "models", "figures", "cli", "build", "experiment")),
    (
        "recipes",
        ("training", "probes", "runs", "models", "data", "labels", "objectives", "regularizers", "cli", "build"),
    ),
    ("objectives", ("training", "probes", "runs", "data", "models", "cli")),
    ("tables", ("training", "probes", "metrics", "figures", "models", "data", "cli", "build", "experiment")),
    ("report", ("training", "probes", "models", "data", "build", "experiment", "cli")),
    (
        "published",
        ("training", "probes", "metrics", "runs", "figures", "tables", "models", "data", "cli", "build", "experiment"),
    ),
    ("evaluation", ("probes", "figures", "cli", "checks", "experiment")),
    ("checks", ("probes", "runs", "figures", "cli", "training", "experiment")),
    ("cost", ("probes", "figures", "tables", "report", "cli", "experiment", "monitor", "grid")),
    (
        "diagnosis",
        ("training", "probes", "figures", "tables", "report", "cli", "build", "experiment", "evaluation", "checks"),
    ),
    ("integrations", ("training", "probes", "figures", "tables", "cli", "build", "experiment")),
    (
        "live",
        ("training", "probes", "figures", "tables", "models", "data", "cli", "build", "experiment", "monitor", "sinks"),
    ),
    (
        "sinks",
        (
            "training",
            "probes",
            "metrics",
            "figures",
            "tables",
            "models",
            "data",
            "cli",
            "build",
            "experiment",
            "monitor",
        ),
    ),
    (
        "sweeps",
        ("probes", "metrics", "figures", "tables", "data", "evaluation", "checks", "report", "monitor", "cli"),
    ),
    ("theory", ("training", "probes", "runs", "figures", "data", "models", "cli", "build", "experiment")),
]


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        yield name.removesuffix(".__init__"), path


def imports_of(path, *, top_level_only=False):
    tree = ast.parse(path.read_text())
    typing_only = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.unparse(branch.test)
        for node in ast.walk(branch)
    }
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    for node in nodes:
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize(("room", "others"), FORBIDDEN)
def test_forbidden_arrows(room, others):
    banned = tuple(f"overfit_lab.{other}" for other in others)
    found = [
        f"{name} imports {target}"
        for name, path in modules()
        if name.startswith(f"overfit_lab.{room}.")
        for target in imports_of(path)
        if target in banned or target.startswith(tuple(b + "." for b in banned))
    ]
    assert not found


def test_nothing_imports_the_command_line():
    found = [
        name
        for name, path in modules()
        if not name.startswith(("overfit_lab.cli", "overfit_lab.__main__"))
        for target in imports_of(path)
        if target.startswith("overfit_lab.cli")
    ]
    assert not found


def test_config_imports_nothing_of_ours_but_errors():
    targets = {t for t in imports_of(PACKAGE / "config.py") if t.startswith("overfit_lab")}
    assert all(target.startswith("overfit_lab.errors") for target in targets)


def test_no_import_cycle():
    known = dict(modules())
    graph = {
        name: {t for t in imports_of(path, top_level_only=True) if t in known and t != name}
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
            assert all(isinstance(node, (ast.Expr, ast.ImportFrom, ast.Assign)) for node in body), path


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


WRITERS = ("table", "as_text", "as_latex", "as_data", "writing")


@pytest.mark.parametrize("module", WRITERS)
def test_what_writes_tables_knows_nothing_of_runs(module):
    targets = {t for t in imports_of(PACKAGE / "tables" / f"{module}.py") if t.startswith("overfit_lab")}
    allowed = ("overfit_lab.errors", *(f"overfit_lab.views.tables.{name}" for name in WRITERS))
    assert all(target.startswith(allowed) for target in targets), targets
