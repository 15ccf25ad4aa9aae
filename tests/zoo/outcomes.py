"""What becomes of a probe on a network: equal to the oracle, refused at the start, or one of what must not be."""

import math
import traceback
import warnings
from dataclasses import dataclass, field, replace
from functools import cache

import torch
from scipy.stats import t as students
from torch.nn import functional

from overfit_lab.config.catalog import PROBES
from overfit_lab.config.options import parse_options
from overfit_lab.errors import ConfigError, ProbeError
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.models.adapt import Adapter
from overfit_lab.monitor.monitor import Monitor
from overfit_lab.probes.base import run_probe
from zoo.holdings import bits, can_be_copied, differences, holdings
from zoo.networks import BFLOAT16, SHAPE, ZOO, K, Network
from zoo.oracle import Oracle, bare, in_float64

N, BATCH, NEIGHBOURS, EPS = 12, 5, 3, 0.05
VIEW = {"n": N, "splits": ["train"], "inputs": ["adversarial"]}
VECTORS, PRODUCTS = 12, 30
MORE = 64
"""Times as many vectors where a trace is off by more than four standard errors: those are an eighth as large then."""
BY_SIGNS, BY_SKETCH, BY_OUTPUTS = (
    {"estimator": "hutchinson", "max_probes": VECTORS, "tolerance": 0},
    {"estimator": "hutch++", "max_probes": PRODUCTS, "tolerance": 0},
    {"estimator": "sampled", "output_vectors": 20},
)
TOP = {"top_k": 2, "eigenvalue_tolerance": 1e-3}

# Each round is one monitor, with as many probes as can have the options asked for.
ROUNDS = {
    "first": {
        "gradient-norm": {},
        "iiw": {"layers": True},
        "hessian": {"estimator": "auto", "max_probes": VECTORS, "tolerance": 0, **TOP},
        "calibration": {},
        "confidence": {},
        "memorisation": {},
        "features": {"neighbours": NEIGHBOURS, "tsne": "never"},
        "logit-geometry": {"measured": False},
    },
    "second": {
        "iiw": {"estimator": "expected-fisher", "layers": True},
        "hessian": {**BY_SIGNS, "top_k": 0},
        "logit-geometry": {"measured": False, "norm": "l2"},
    },
    "third": {"iiw": {"estimator": "pib-reference", "layers": True}, "hessian": {**BY_SKETCH, "top_k": 0}},
    "fourth": {"iiw": {"layers": False}, "hessian": {**BY_OUTPUTS, "top_k": 0}},
    "fifth": {
        "iiw": {"estimator": "expected-fisher", "layers": False},
        "hessian": {"estimator": "exact", "top_k": 0},
    },
    "sixth": {"iiw": {"estimator": "pib-reference", "layers": False}},
}
"""What is held against the oracle."""
SEARCHES = {
    "features": {"tsne": "always"},
    "logit-geometry": {"n_steps": 1, "n_bisections": 2},
    "hessian": {"estimator": "pyhessian", "max_probes": 2, "top_k": 1},
}
"""What is held to leaving no trace alone."""
UNCHECKED = {"piecewise_linear", "top_eigenvalue_residual", "eigenvalue", "eigenvalue_residual"}


class Stored:
    """An attack that gives images found beforehand."""

    threat = ThreatModel("linf", eps=EPS)

    def __init__(self, clean, attacked):
        self.clean, self.attacked = clean, attacked

    def __call__(self, model, x, loss, *, generator):
        rows = (x.flatten(1)[:, None].float() - self.clean.flatten(1)[None]).abs().amax(2).argmin(1)
        return self.attacked[rows].to(x.dtype)


def images():
    """Images (N, 3, 8, 8) in bytes, their labels, the true ones, and where noise drew the label."""
    stream = torch.Generator().manual_seed(1)
    y_true = torch.arange(N) % K
    x = torch.randint(0, 200, (N, *SHAPE), generator=stream)
    x[torch.arange(N), y_true] += 55
    corrupted = torch.arange(N) % 4 == 1
    y = torch.where(corrupted, (y_true + torch.arange(N) % 5 % 2) % K, y_true)
    return x.to(torch.uint8), y, y_true, corrupted


def attacked():
    """The images as floats, and others within eps of them, in which no model has a say."""
    clean = images()[0].float() / 255
    signs = torch.randint(2, clean.shape, generator=torch.Generator().manual_seed(2)).float() * 2 - 1
    return clean, (clean + EPS * signs).clamp(0, 1)


def watch(network: Network, model, probes):
    """A monitor of a model at theta_0.

    Raises:
        ProbeError, ConfigError: it is refused.
    """
    x, y, y_true, corrupted = images()
    monitor = Monitor(
        model,
        (x, y),
        probes=list(probes),
        options={name: {**VIEW, **options} for name, options in probes.items()},
        attack=Stored(*attacked()),
        penultimate=network.penultimate,
        adapter=Adapter(output=network.output),
        batch_size=BATCH,
        seed=3,
    )
    split = replace(monitor.data.splits["train"], y_true=y_true, corrupted=corrupted, order=torch.arange(N))
    monitor.data = replace(monitor.data, splits={"train": split})
    return monitor


def logits_of(network, model, x):
    z = model(x)
    if network.output is not None:
        z = z[network.output] if isinstance(z, dict) else getattr(z, network.output)
    return z[0] if isinstance(z, tuple) else z


def own_images(network, model):
    """The images in the type that the network takes."""
    return attacked()[0].to(torch.float32 if network.casts else next(model.parameters()).dtype)


def take_a_step(network: Network, model):
    """Statistics, gradients and weights move, in train mode, as in the midst of a loop; gradients stay filled."""
    y = images()[1]
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(5)
        model.train()
        loss = functional.cross_entropy(logits_of(network, model, own_images(network, model)).float(), y)
        if loss.requires_grad:
            loss.backward()
        stream = torch.Generator().manual_seed(4)
        with torch.no_grad():
            for p in model.parameters():
                if p.grad is not None:
                    p += (0.1 * torch.randn(p.shape, generator=stream)).to(p.dtype)
    return model


def oracle_of(network: Network) -> Oracle:
    """The oracle of the network after its step, on the stored images."""
    start = dict(bare(network.make()).named_parameters())
    model = bare(take_a_step(network, network.make()))
    _, y, y_true, corrupted = images()
    return Oracle(
        in_float64(model),
        attacked()[1],
        y,
        {name: p.detach().double() - start[name].detach().double() for name, p in model.named_parameters()},
        y_true=y_true,
        corrupted=corrupted,
        output=network.output,
        penultimate=network.penultimate,
    )


def wanted(oracle: Oracle, name: str, options: dict) -> dict:
    """Field to the number that is right, or to that and its standard error."""
    if name == "gradient-norm":
        return oracle.gradient_norm(BATCH)
    if name == "iiw":
        return oracle.iiw(options.get("estimator", "empirical-fisher"), options["layers"], N)
    if name == "hessian":
        return {key: v for key, v in oracle.hessian().items() if options.get("top_k", 1) or "eigenvalue" not in key}
    if name == "features":
        return oracle.features(options["neighbours"])
    if name == "logit-geometry":
        return oracle.logit_geometry(2 if options.get("norm") == "l2" else 1)
    return {"calibration": oracle.calibration, "confidence": oracle.confidence, "memorisation": oracle.memorisation}[
        name
    ]()


@dataclass
class Cell:
    """One probe on one network in one round: ``equal``, ``refused``; ``late`` (not at the start), ``wrong``, ``crash``.

    ``via`` is how the record says that the numbers were made.
    """

    network: str
    round: str
    probe: str
    outcome: str
    detail: str = ""
    via: tuple = ()
    traces: list = field(default_factory=list)

    @property
    def is_good(self):
        return self.outcome in ("equal", "refused") and not self.traces


def number(value):
    return float(value.item() if isinstance(value, torch.Tensor) else value)


def spread_of(oracle, name, options, values):
    """What a stochastic field may be off by: four standard errors, more where the error itself rests on few draws."""
    if name != "hessian":
        return {}
    flags = {value.field: value.value for value in values}
    estimator = options["estimator"]
    if estimator == "hutchinson" or (estimator == "auto" and flags.get("piecewise_linear") == 0):
        return {key: 4 * number(one) / options["max_probes"] ** 0.5 for key, one in oracle.sign_spread().items()}
    if estimator in ("hutch++", "sampled"):
        draws = options["max_probes"] // 3 if estimator == "hutch++" else N
        factor = students.isf(3.2e-5, draws - 1)
        return {value.field: factor * (value.stderr or 0.0) for value in values if "eigenvalue" not in value.field}
    return {}


def mistakes(values, want, tolerance, spread):
    """The fields that are wrong, as ``field got, want``."""
    got, wrong, family = {value.field: value for value in values}, [], {}
    for key, right in want.items():
        size = abs(number(right[0] if isinstance(right, tuple) else right))
        if math.isfinite(size):
            family[key.split("/")[0]] = max(family.get(key.split("/")[0], 0.0), size)
    for key, right in want.items():
        right, error = right if isinstance(right, tuple) else (right, None)
        if key not in got:
            wrong.append(f"{key} absent, want {number(right):.6g}")
            continue
        floor = 1e-2 * family.get(key.split("/")[0], 0.0)
        allowed = tolerance * max(abs(number(right)), floor) + 1e-9 + spread.get(key, 0.0)
        if "eigenvalue" in key:
            allowed = max(1e-2, tolerance) * abs(number(want["top_eigenvalue"])) + 1e-9
        if not close(got[key].value, number(right), allowed):
            wrong.append(f"{key} {got[key].value:.6g}, want {number(right):.6g}")
        theirs, error = got[key].stderr, math.nan if error is None else number(error)
        allowed = 10 * tolerance * max(error, floor) + 1e-9
        if theirs is not None and math.isfinite(error) and not close(theirs, error, allowed):
            wrong.append(f"{key} stderr {theirs:.6g}, want {error:.6g}")
    extra = [key for key in got if key not in want and key.split("/")[0] not in UNCHECKED]
    return wrong + [f"{key} {got[key].value:.6g}, want none" for key in extra]


def far_eigenvalues(values, eigenvalues, tolerance):
    """Eigenvalues with no true one within what is said to be their residual."""
    got, wrong = {value.field: value.value for value in values}, []
    for key, value in got.items():
        if key.startswith(("top_eigenvalue", "eigenvalue/")) and "residual" not in key:
            residual = got[key.replace("eigenvalue", "eigenvalue_residual")]
            gap = (eigenvalues - value).abs().min().item()
            if math.isfinite(value) and not gap <= residual + 5 * tolerance * eigenvalues[0].abs().item() + 1e-9:
                wrong.append(f"{key} {value:.6g} is {gap:.2g} from an eigenvalue, said to be within {residual:.2g}")
    return wrong


def close(a, b, allowed):
    """Whether two numbers are equal enough, or none of them is finite."""
    if not (math.isfinite(a) and math.isfinite(b)):
        return not (math.isfinite(a) or math.isfinite(b))
    return abs(a - b) <= allowed


def last_line(error):
    lines = str(error).strip().splitlines() or [""]
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {lines[0][:160]} ({where.filename.split('/')[-1]}:{where.lineno})"


class Start:
    """A model at theta_0 and a monitor of it with the probes that it accepts.

    ``refused`` says why others are not accepted, ``traces`` what the making of a monitor left.
    """

    def __init__(self, network, probes, watch=watch):
        self.network, self.watch, self.model, self.monitor, self.traces = network, watch, None, None, []
        self.accepted, self.refused = dict(probes), {}
        if self.attempt(probes):
            return
        self.accepted = {name: options for name, options in probes.items() if self.attempt({name: options})}
        if self.accepted and not self.attempt(self.accepted):
            self.accepted = {}

    def attempt(self, probes):
        """Whether a new model gets a monitor with these probes."""
        self.model, self.monitor = self.network.make(), None
        before = holdings(self.model)
        try:
            self.monitor = self.watch(self.network, self.model, probes)
            return True
        except (ProbeError, ConfigError) as error:
            self.refused |= {name: str(error) for name in probes if name not in self.accepted or len(probes) == 1}
            return False
        finally:
            left = differences(before, holdings(self.model))
            self.traces = self.traces or [f"at the start {one}" for one in left]


def run_round(network: Network, label: str, probes, oracle=None) -> list[Cell]:
    """The cells of one round. ``oracle()`` gives the oracle; without, the outcome is that nothing went wrong."""
    start, cells = begun(network, label, probes)
    return cells + (went_through(start, label, start.accepted, oracle, cells) if start is not None else [])


def begun(network, label, probes):
    """A model after a step with its monitor, if any, and the cells of what the monitor refuses."""
    probes = {n: o for n, o in probes.items() if n != "features" or network.penultimate is not None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            start = Start(network, probes)
        except Exception as error:
            return None, [Cell(network.name, label, name, "crash", "start: " + last_line(error)) for name in probes]
        cells = []
        for name, reason in start.refused.items():
            outcome = "refused" if "\n" not in reason.strip() else "crash"
            cells.append(Cell(network.name, label, name, outcome, reason))
        if start.accepted:
            take_a_step(network, start.model)
    return start, cells


def went_through(start, label, probes, oracle, cells=()):
    """The cells of the probes that a monitor accepts; the last one says whether the model can still be copied."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        copied = can_be_copied(start.model) if probes else None
        found = [measured(start, label, name, options, oracle) for name, options in probes.items()]
        if probes and can_be_copied(start.model) != copied:
            found[-1].traces.append("copy.deepcopy or torch.save work otherwise than before")
    for first in [*cells, *found][:1]:
        first.traces = start.traces + first.traces
    return found


def measured(start, label, name, options, oracle):
    """One probe's cell; the images that all probes share are made by the first."""
    network, model, monitor = start.network, start.model, start.monitor
    cell = Cell(network.name, label, name, "equal")
    probe = PROBES[name](parse_options(PROBES[name], {**VIEW, **options}, prefix=name))
    before = holdings(model)
    try:
        with monitor.adapted():
            start.snapshot = getattr(start, "snapshot", None) or monitor.snapshot()
            view = start.snapshot.view("train", "adversarial").x
            seen = bits(view)
            measurement, _ = run_probe(probe, start.snapshot)
        if bits(view) != seen:
            cell.traces.append("the images changed")
    except (ProbeError, ConfigError) as error:
        cell.outcome, cell.detail = "late", str(error)
        cell.traces += differences(before, holdings(model))
    except Exception as error:
        cell.outcome, cell.detail = "crash", last_line(error)
        cell.traces += differences(before, holdings(model))
    else:
        cell.via = tuple(dict.fromkeys(value.via for value in measurement.values if value.via))
        cell.traces += differences(before, holdings(model))
        wrong = judged(start, name, options, measurement.values, oracle) if oracle is not None else []
        if wrong and options.get("max_probes"):  # of thousands of traces one is beyond four errors by chance
            options = {**options, "max_probes": MORE * options["max_probes"]}
            probe = PROBES[name](parse_options(PROBES[name], {**VIEW, **options}, prefix=name))
            with monitor.adapted():
                measurement, _ = run_probe(probe, start.snapshot)
            wrong = judged(start, name, options, measurement.values, oracle)
        cell.outcome, cell.detail = ("wrong", "; ".join(wrong[:4])) if wrong else ("equal", "")
    return cell


def judged(start, name, options, values, oracle):
    """What is wrong with a probe's numbers, or with the logits."""
    network, options = start.network, {"estimator": "empirical-fisher", **options}
    try:
        right, own = oracle(), start.snapshot.view("train", "adversarial").logits.double()
        finite = bool(right.z.isfinite().all() and own.isfinite().all())
        if finite and (right.z - own).abs().max() > network.tolerance * right.z.abs().max():
            return [f"logits {own[0].tolist()}, want {right.z[0].tolist()}"]
        right.own_logits = own
        want = wanted(right, name, options)
    except Exception as error:
        return [f"there is no right number: {last_line(error)}"]
    factor = 4 if name == "iiw" and network.tolerance == BFLOAT16 else 1  # a square, of what cancels in part
    wrong = mistakes(values, want, factor * network.tolerance, spread_of(right, name, options, values))
    if name == "hessian" and options.get("top_k", 1):
        wrong += far_eigenvalues(values, right.eigenvalues, network.tolerance)
    return wrong


def cells_of(network: Network, rounds=ROUNDS) -> list[Cell]:
    """Every probe with each of its estimators on a network, each round on a model and a monitor of its own."""
    oracle = cache(lambda: oracle_of(network))
    return [cell for label, probes in rounds.items() for cell in run_round(network, label, probes, oracle)]


def quick_cells_of(network: Network, rounds=ROUNDS) -> list[Cell]:
    """As :func:`cells_of`, on one model and monitor; only what fails on it is asked of a monitor of its own."""
    oracle = cache(lambda: oracle_of(network))
    (label, probes), *others = rounds.items()
    start, cells = begun(network, label, probes)
    if start is None or not start.accepted:
        return cells
    cells += went_through(start, label, start.accepted, oracle, cells)
    for label, probes in others:
        for cell in went_through(start, label, probes, oracle):
            one = {cell.probe: probes[cell.probe]}
            cells += [cell] if cell.is_good else run_round(network, label, one, oracle)
    return cells


def report(cells):
    """Lines for what is not equal, alike ones together."""
    lines = {}
    for cell in cells:
        traces = f" | TRACE {'; '.join(cell.traces)}" if cell.traces else ""
        if cell.outcome != "equal" or traces:
            lines.setdefault(f"{cell.outcome} | {cell.detail}{traces}", []).append(f"{cell.probe}[{cell.round}]")
    return [f"{cells[0].network} | {' '.join(which)} | {what}" for what, which in lines.items()]


if __name__ == "__main__":
    import sys
    import time
    from collections import Counter

    torch.set_num_threads(1)
    counts, start = Counter(), time.process_time()
    for key in sys.argv[1:] or ZOO:
        begin = time.process_time()
        cells = cells_of(ZOO[key])
        counts += Counter(cell.outcome for cell in cells) + Counter("traces" for cell in cells if cell.traces)
        print("\n".join([*report(cells), f"-- {key}: {time.process_time() - begin:.1f} s"]), flush=True)
    print(dict(counts), f"{time.process_time() - start:.0f} s")
