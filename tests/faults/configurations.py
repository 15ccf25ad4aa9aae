"""Configurations that hypothesis draws from the schema and the registries, right and wrong, through the command line.

A value is one of the kind that its key takes, or one of another kind, an extreme, none, or a strange text; it comes in
a YAML file, by ``--set`` or ``--grid``, in a sweep's file, or over a recipe. What is valid trains a few steps.
"""

import contextlib
import json
import math
import shutil
import tempfile
import typing
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from unittest import mock

import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from faults.folders import listing, surrounded
from faults.mutations import CANARY, NUMBERS, STRUCTURES, TEXTS, YAML_TRICKS, Raw, nested, to_json
from faults.running import BAD, INTERRUPTED, command
from overfit_lab.config.upgrade import CURRENT, VERSION_KEY

STEPS = 2
"""Training steps after which Ctrl-C is pressed."""
PATIENCE = 8
"""Seconds after which it is pressed in any case."""
BASE = {
    VERSION_KEY: CURRENT,
    "name": "drawn",
    "epochs": 1,
    "batch_size": 16,
    "data": {"name": "digits", "n_train": 32, "n_val": 16, "n_test": 16},
    "model": {"name": "mlp", "hidden": 8},
    "attack": {"eps": 0.1, "step_size": 0.1, "n_steps": 1},
    "schedule": {"name": "constant"},
    "evaluation": {"n_steps": 1, "n_train": 16},
    "probes": {"every": 1, "metrics": ["calibration"], "n": 8},
}
"""What the drawn keys are put over."""


@dataclass
class Case:
    """A command line, the files that it reads, and whether a run folder lies at ``{run}``."""

    arguments: list
    files: dict

    def to_json(self):
        return json.dumps({"kind": "configuration", **asdict(self)}, indent=1) + "\n"

    @classmethod
    def read(cls, path):
        content = json.loads(Path(path).read_text())
        return cls(content["arguments"], content["files"])

    def __str__(self):
        files = "".join(f" | {name}: {text[:500]!r}" for name, text in self.files.items())
        return " ".join(map(repr, self.arguments))[:500] + files


# what a key takes


def _family(kind):
    from overfit_lab.config import catalog

    return getattr(catalog, kind)


FAMILIES = {
    "model": "MODELS",
    "objective": "OBJECTIVES",
    "labels": "LABELS",
    "schedule": "SCHEDULES",
    "attack.eps_schedule": "SCHEDULES",
    "regularizers": "REGULARIZERS",
    "attack.name": "ATTACKS",
    "evaluation.attack": "ATTACKS",
    "evaluation.corruption": "ATTACKS",
    "probes.metrics": "PROBES",
    "data.name": "DATASETS",
}
"""Keys whose values are names of a registry."""
PARTS = ("model", "objective", "labels", "schedule", "attack.eps_schedule", "regularizers")


@cache
def keys():
    """Every key of the configuration with its field, groups entered."""
    from overfit_lab.config.schema import RunConfig

    found = {}

    def enter(model, prefix):
        for name, field in model.model_fields.items():
            key, kind = f"{prefix}{name}", field.annotation
            found[key] = field
            if isinstance(kind, type) and issubclass(kind, BaseModel) and key not in PARTS:
                enter(kind, f"{key}.")

    enter(RunConfig, "")
    return found


@cache
def options_of(family, name):
    """The options of a component with their fields."""
    from overfit_lab.config.options import options_model
    from overfit_lab.models.factory import MODEL_CONTEXT

    model = options_model(_family(family)[name], MODEL_CONTEXT if family == "MODELS" else frozenset())
    return {} if model is None else dict(model.model_fields)


def wild():
    """A value of any kind."""
    return st.one_of(
        st.sampled_from(NUMBERS),
        st.sampled_from([text for text in TEXTS if "\x00" not in text and text not in ("\ud800", CANARY)]),
        st.sampled_from(STRUCTURES),
        st.text(max_size=12),
        st.integers(),
        st.floats(),
        st.lists(st.integers(-2, 3), max_size=4),
        st.dictionaries(st.text(max_size=4), st.integers(), max_size=2) | deep(),
    )


def deep():
    """A value within more others than any reader goes down."""
    return st.sampled_from([nested(depth, kind) for depth in (40, 900, 3000) for kind in ("[]", "{run}")])


def typical(annotation, field=None):
    """A value of the kind that an annotation says, mostly small."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return typical(arguments[0], field)
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        least = next((one.ge for one in getattr(field, "metadata", ()) if hasattr(one, "ge")), 0)
        return st.integers(int(least), 6)
    if annotation is float:
        return st.floats(0, 1) | st.sampled_from(["8/255", "50%", 0.1])
    if annotation is str:
        return st.sampled_from(["a", "1GB", "50%", "8/255", "10s", "label", "initial", "held-out"])
    if annotation is type(None) or annotation is None:
        return st.none()
    if origin in (tuple, list):
        return st.lists(typical(arguments[0]) if arguments else st.integers(0, 3), max_size=3)
    if arguments and origin is not dict:
        return st.one_of(*(typical(argument) for argument in arguments))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        names = {name: typical(one.annotation, one) for name, one in annotation.model_fields.items()}
        return st.fixed_dictionaries({}, optional=names)
    if field is None or field.is_required():
        return st.integers(0, 3)
    default = field.get_default(call_default_factory=True)
    return st.just(default.model_dump(mode="json") if isinstance(default, BaseModel) else default)


def mostly(right):
    """Mostly a right value, else any. (``one_of`` would give each branch of its branches the same share.)"""
    return st.sampled_from([right] * 6 + [wild(), st.sampled_from(NUMBERS)]).flatmap(lambda one: one)


def value_of(field):
    """Mostly of the right kind, else any."""
    return mostly(typical(field.annotation, field))


@st.composite
def component(draw, family, names=None):
    """A component of a registry with some of its options."""
    name = draw(st.sampled_from(names or list(_family(family))))
    options = options_of(family, name)
    chosen = draw(st.lists(st.sampled_from(sorted(options)), max_size=3, unique=True)) if options else []
    content = {"name": name, **{option: draw(value_of(options[option])) for option in chosen}}
    if draw(st.integers(0, 14)) == 0:
        content[draw(st.sampled_from(["r", "alpha", "nam", "Name", "", "é"]))] = draw(wild())
    return content


SMALL_MODELS = ("mlp", "small-cnn")


@st.composite
def setting(draw):
    """A key and a value for it."""
    kind = draw(st.integers(0, 11))
    if kind < 5:
        key = draw(st.sampled_from(sorted(FAMILIES)))
        family = FAMILIES[key]
        if key not in PARTS:
            name = st.sampled_from(list(_family(family)))
            name = name if key != "data.name" else st.sampled_from(["digits"] * 4) | name
            return key, draw(st.lists(name, max_size=3) if key == "probes.metrics" else mostly(name))
        small = [name for name in SMALL_MODELS if name in _family("MODELS")] if draw(st.integers(0, 5)) else None
        one = component(family, small if key == "model" else None)
        return key, draw(st.lists(one, max_size=2) if key == "regularizers" else mostly(one))
    if kind == 5:
        name = draw(st.sampled_from(list(_family("PROBES"))))
        options = options_of("PROBES", name)
        option = draw(st.sampled_from(sorted(options)))
        return f"probes.options.{name}.{option}", draw(value_of(options[option]))
    if kind == 11 and draw(st.booleans()):
        known = draw(st.sampled_from(sorted(keys())))
        strange = draw(
            st.sampled_from(
                [known.upper(), known + "x", known + ".x", "." + known, known.split(".")[-1], "", ".", "a.b.c.d", "é"]
            )
        )
        return strange, draw(wild())
    key = draw(st.sampled_from(sorted(keys())))
    return key, draw(value_of(keys()[key]))


def settings_of(most=2):
    return st.lists(setting(), min_size=1, max_size=most)


# how it is said


def as_yaml(value):
    """A value as one line of YAML."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return {"nan": ".nan", "inf": ".inf", "-inf": "-.inf"}[str(value)]
    plain = isinstance(value, str) and value == value.strip() and value.isprintable()
    return value if plain else to_json(value, ensure_ascii=False)


def nested_into(content, pairs):
    """Nested keys and values with those of dotted keys put in, in which groups give way."""
    content = json.loads(json.dumps(content))
    for key, value in pairs:
        group, parts = content, key.split(".")
        for part in parts[:-1]:
            if not isinstance(group.get(part), dict):
                group[part] = {}
            group = group[part]
        group[parts[-1]] = value
    return content


@st.composite
def file_case(draw):
    """A YAML file with a tiny run in which keys are set, sometimes with a trick of the language."""
    text = to_json(nested_into(BASE, draw(settings_of())), 1, ensure_ascii=False)
    if draw(st.integers(0, 4)) == 0:
        trick = draw(st.sampled_from(YAML_TRICKS))
        plain = yaml.safe_dump(BASE)
        text = draw(st.sampled_from([trick, trick + plain, plain + trick]))
    verb = draw(st.sampled_from([["train"], ["train"], ["train"], ["config"], ["cost"]]))
    return Case(
        [*verb, "{here}/c.yaml", *(["--out", "{out}", "--device", "cpu"] if verb == ["train"] else [])],
        {"c.yaml": text},
    )


@st.composite
def set_case(draw):
    """Settings over a tiny file or over a recipe."""
    pairs = draw(settings_of())
    options = [part for key, value in pairs for part in ("--set", f"{key}={as_yaml(value)}")]
    if draw(st.integers(0, 9)) == 0:
        options += [
            "--set",
            draw(
                st.sampled_from(
                    [
                        "=",
                        "a",
                        "epochs",
                        "epochs=",
                        "epochs=[",
                        "epochs=&a [*a]",
                        "=1",
                        "epochs=2020-13-45",
                        "epochs=!!python/name:os.system",
                    ]
                )
            ),
        ]
    if draw(st.integers(0, 3)) == 0:
        from overfit_lab.config.recipes import RECIPES

        small = [
            part
            for key, value in (("data.n_train", 32), ("data.n_test", 16), ("evaluation.n_steps", 1))
            for part in ("--set", f"{key}={value}")
        ]
        recipe = draw(st.sampled_from([name for name in RECIPES if "digits" in name] or list(RECIPES)))
        return Case([draw(st.sampled_from(["config", "train"])), recipe, *small, *options, *[]], {})
    return Case(
        ["train", "{here}/c.yaml", *options, "--out", "{out}", "--device", "cpu"], {"c.yaml": yaml.safe_dump(BASE)}
    )


@st.composite
def grid_case(draw):
    """Axes over a tiny file."""
    options = []
    for key, value in draw(st.lists(setting(), min_size=1, max_size=3, unique_by=lambda pair: pair[0])):
        values = [as_yaml(value), *(as_yaml(draw(setting())[1]) for _ in range(draw(st.integers(0, 2))))]
        options += ["--grid", f"{key}={','.join(values)}"]
    if draw(st.booleans()):
        options += ["--seeds", str(draw(st.sampled_from([0, 1, 2, -1, 3, 10**9, "x", "1e3"])))]
    if draw(st.booleans()):
        options += ["--jobs", str(draw(st.sampled_from([0, 1, 2, -1, 10**9])))]
    return Case(["train", "{here}/c.yaml", *options, "--out", "{out}"], {"c.yaml": yaml.safe_dump(BASE)})


@st.composite
def sweep_case(draw):
    """A sweep's file in which one thing or another is strange."""
    pairs = draw(settings_of(2))
    content = {
        "base": "c.yaml",
        "grid": {key: [value, draw(setting())[1]] for key, value in draw(settings_of(2))},
        "set": dict(pairs),
        "device": "cpu",
    }
    from overfit_lab.sweeps.spec import SweepSpec

    for _ in range(draw(st.integers(0, 2))):
        key = draw(st.sampled_from(sorted(SweepSpec.model_fields)))
        content[key] = draw(value_of(SweepSpec.model_fields[key]))
    text = to_json(content, 1, ensure_ascii=False)
    if draw(st.integers(0, 6)) == 0:
        text = draw(st.sampled_from(YAML_TRICKS)) + (text if draw(st.booleans()) else "")
    out = ["--out", "{out}"] if draw(st.integers(0, 3)) else []
    return Case(["sweep", "{here}/s.yaml", *out], {"c.yaml": yaml.safe_dump(BASE), "s.yaml": text})


TAKEN = {
    "--n": int, "--steps": int, "--restarts": int, "--step-size": float, "--loss": str, "--queries": int,
    "--iterations": int,
    "--eps": float, "--norm": str, "--batch-size": int, "--checkpoint": str, "--split": str, "--weights": str,
    "--device": str,
    "--source": str, "--attack": str, "--only": str, "--metric": str, "--inputs": str, "--budget": str, "--prior": str,
    "--kind": str, "--format": str, "--best-by": str, "--run": str, "--every": float, "--hardware": str, "--data": str,
    "--devices": int, "--seeds": int, "--set": str,
}  # fmt: skip
BY_COMMAND = {
    "evaluate": "--n --steps --restarts --step-size --loss --queries --iterations --eps --norm --batch-size "
    "--checkpoint --split --weights --device --source --attack",
    "check": "--n --queries --batch-size --checkpoint --split --weights --only --source",
    "probe": "--n --checkpoint --split --inputs --weights --budget --prior --set --device",
    "table": "--kind --format --best-by --attack",
    "compare": "--format",
    "watch": "--run --every",
    "cost": "--hardware --data --devices --seeds --set",
}
SMALLER = {
    "evaluate": ["--n", "8", "--steps", "1"],
    "check": ["--n", "8", "--only", "deterministic"],
    "watch": ["--once"],
}


@st.composite
def option_case(draw):
    """Options of other commands with values of any kind, on a run folder."""
    verb = draw(st.sampled_from(sorted(BY_COMMAND)))
    options = []
    for name in draw(st.lists(st.sampled_from(BY_COMMAND[verb].split()), min_size=1, max_size=3, unique=True)):
        value = draw(st.one_of(_word(name), _word(name), typical(TAKEN[name]), wild()))
        options += [name, value if isinstance(value, str) and not isinstance(value, Raw) else as_yaml(value)]
    metric = ["--metric", draw(st.sampled_from(["calibration", "iiw", "hessian", "phases", "calibration,features"]))]
    target = "{run}/config.yaml" if verb == "cost" else "{run}"
    return Case([verb, target, *SMALLER.get(verb, []), *(metric if verb == "probe" else []), *options], {})


def _word(name):
    """A value that an option of text may well have."""
    words = {
        "--loss": ["ce", "margin", "dlr"], "--norm": ["linf", "l2"], "--eps": ["8/255", "0", "1"],
        "--checkpoint": ["best", "final", "initial", "all", "1,2", "99"],
        "--split": ["train", "val", "test"], "--weights": ["raw", "ema"], "--device": ["auto", "cpu", "cuda"],
        "--source": ["{run}", "{run}@1", "{run}@x"],
        "--attack": ["pgd", "square", "transfer", "apgd-ce", "fgsm", "noise", "pgd,pgd", "gaussian-noise"],
        "--only": ["more-steps", "deterministic", "x,y"],
        "--inputs": ["clean", "adversarial", "noisy", "black-box", "clean,clean"], "--budget": ["5%", "1s", "0s",
        "200%", "1ms"], "--prior": ["initial", "held-out", "{run}", "{run}@1"],
        "--kind": ["methods", "constants", "calibration"], "--format": ["csv", "json", "latex"], "--best-by": ["auto",
        "val", "test"], "--run": ["run", "folder"],
        "--hardware": ["A100", "cpu"], "--data": ["100,10,3x32x32,10", "0,0,0x0x0,0", "10,10,1x8x8,1",
        "1e9,1,1x1x1,2"], "--set": ["iiw.layers=false", "hessian.top_k=-1", "a=1", "iiw.x=1"],
    }.get(name, ["1", "0", "-1", "2"])  # fmt: skip
    return st.sampled_from(words)


def configurations():
    """A case: a command line and its files."""
    cases = {
        "file": file_case(),
        "set": set_case(),
        "grid": grid_case(),
        "sweep": sweep_case(),
        "option": option_case(),
    }
    kinds = ("file", "file", "set", "set", "set", "grid", "sweep", "option", "option", "option")
    return st.sampled_from(kinds).flatmap(cases.__getitem__)


BATCH = 20
"""Cases of one search of hypothesis: it varies what it drew before, so that later ones are much alike."""


def draw_cases(count, number):
    """So many different cases that a seed gives."""
    cases, batch = {}, 0
    while len(cases) < count:
        cases |= {str(case): case for case in _search(f"{number}/{batch}")}
        batch += 1
    return list(cases.values())[:count]


def _search(name):
    cases = []

    @seed(name)
    @settings(
        max_examples=BATCH, phases=[Phase.generate], database=None, deadline=None,
        suppress_health_check=list(HealthCheck), derandomize=False,
    )  # fmt: skip
    @given(configurations())
    def collect(case):
        cases.append(case)

    collect()
    return cases[1:]  # the first is always the simplest


def outcomes(count, number, run_folder):
    """The cases of a seed, each with the outcome of its command."""
    for case in draw_cases(count, number):
        yield case, run_case(case, run_folder)


# running


def run_case(case, run_folder):
    """The outcome of a case in a place that is removed afterwards; ``problems`` says what is wrong with it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, surrounded(Path(name)) as root:
        here, out, folder = root / "here", root / "tmp" / "out", root / "run"
        if any("{run}" in text for text in case.arguments):
            shutil.copytree(run_folder, folder)
        for file, text in case.files.items():
            (here / file).write_text(text, errors="surrogatepass")
        filled = [_filled(text, here, out, folder) for text in case.arguments]
        before = listing(root, without=(folder, root / "tmp", here / "runs"))
        with _step_budget():
            outcome = command(filled, folder=here, interrupt=PATIENCE)
        after = listing(root, without=(folder, root / "tmp", here / "runs"))
        made = [path for path in (out, here / "runs") if path.exists()]
        wrong = list(outcome.problems)
        if (root / "tmp" / "ran").exists():
            wrong.append("CODE RAN")
        if before != after:
            wrong.append(f"touched outside: {sorted(after.keys() ^ before.keys())[:3]}")
        if outcome.status == BAD and any(not _failed_in_training(path) for path in made):
            wrong.append("left a folder")
        if outcome.status in (BAD, INTERRUPTED, 0) and any(
            ".partial" in str(path) for one in made for path in one.rglob("*")
        ):
            wrong.append("left .partial")
        outcome.problems = wrong
    return outcome


def _failed_in_training(folder):
    """Whether it is a whole run that says it failed, of what only training could show, such as how long it takes."""
    info, records = folder / "run.json", folder / "records.jsonl"
    return info.is_file() and json.loads(info.read_text())["status"] == "failed" and records.stat().st_size > 0


def _filled(text, here, out, folder):
    return text.replace("{here}", str(here)).replace("{out}", str(out)).replace("{run}", str(folder))


@contextlib.contextmanager
def _step_budget():
    """Ctrl-C after a few steps; in a sweep before the first process is started."""
    from overfit_lab.sweeps.backends.local import LocalBackend
    from overfit_lab.training import loop

    step, count = loop.take_step, [0]

    def counted(*arguments, **options):
        count[0] += 1
        if count[0] > STEPS:
            raise KeyboardInterrupt
        return step(*arguments, **options)

    def stopped(*arguments, **options):
        raise KeyboardInterrupt

    with mock.patch.object(loop, "take_step", counted), mock.patch.object(LocalBackend, "run", stopped):
        yield
