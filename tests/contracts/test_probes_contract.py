"""What holds for every probe that is registered."""

import contextlib
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from factories import awkward_model, make_snapshot
from overfit_lab.config.catalog import PROBES
from overfit_lab.config.options import parse_options
from overfit_lab.errors import ProbeError
from overfit_lab.probes.base import run_probe
from overfit_lab.probes.snapshot import Snapshot

probes = pytest.mark.parametrize("name", list(PROBES))
RARE = {"phases": {"collapse_epoch", "decay_epoch"}}
"""Fields that the run of the snapshot has no number of: nothing collapses, and the peak is before the decay."""
QUICK = {"hessian": {"max_probes": 4}}


def make(name, **options):
    given = {"n": 30, **QUICK.get(name, {}), **options}
    return PROBES[name](parse_options(PROBES[name], given, prefix=name))


def trace_of(model):
    return (
        {key: value.clone() for key, value in model.state_dict().items()},
        [p.requires_grad for p in model.parameters()],
        [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        [module.training for module in model.modules()],
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.get_rng_state(),
        [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()],
    )


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def used_model():
    """A model in train mode whose gradients are filled, as in the middle of a training step."""
    model = awkward_model()
    model.train()
    model(torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))).sum().backward()
    return model


@probes
def test_leaves_no_trace(name):
    model = used_model()
    before = trace_of(model)
    run_probe(make(name), make_snapshot(model))
    assert same(before, trace_of(model))


@probes
def test_leaves_no_trace_when_the_model_fails(name):
    model = used_model()
    snapshot = make_snapshot(model)
    for split in ("train", "val", "test"):
        for inputs in ("clean", "adversarial"):
            snapshot.view(split, inputs)
    before = trace_of(model)
    calls = {"n": 0}

    def fail(*_):
        calls["n"] += 1
        raise RuntimeError("broken")

    handle = model.conv.register_forward_hook(fail)
    with contextlib.suppress(RuntimeError):
        run_probe(make(name), snapshot)
    handle.remove()
    needs_passes = name in ("gradient-norm", "iiw", "hessian", "features", "logit-geometry")
    assert (calls["n"] > 0) == needs_passes
    assert same(before, trace_of(model))


@probes
def test_emits_its_declared_fields_and_says_what_they_are_of(name):
    probe = make(name)
    measurement, seconds = run_probe(probe, make_snapshot())
    seen = {value.field.split("/")[0] for value in measurement.values}
    assert seen == {field.name for field in probe.fields} - RARE.get(name, set())
    parts = {field.name for field in probe.fields if field.per_part}
    assert all(("/" in value.field) == (value.field.split("/")[0] in parts) for value in measurement.values)
    may_be_null = {field.name for field in probe.fields if "null" in field.describes}
    for value in measurement.values:
        assert np.isfinite(value.value) or value.field in may_be_null, value
        assert value.split in ("train", "val", "test")
        assert value.inputs in ("clean", "adversarial")
        assert 0 < value.n <= 30
        assert value.stderr is None or value.stderr >= 0
    assert seconds > 0
    assert probe.source
    assert all(array.dtype.kind in "fi" for array in measurement.arrays.values())


@probes
def test_repeats_to_the_bit(name):
    first, second = (run_probe(make(name), make_snapshot())[0] for _ in range(2))
    assert first.values == second.values
    assert first.arrays.keys() == second.arrays.keys()
    assert all(np.array_equal(first.arrays[key], second.arrays[key]) for key in first.arrays)


@probes
def test_does_not_depend_on_what_was_measured_before(name):
    fresh = run_probe(make(name), make_snapshot())[0]
    used = make_snapshot()
    for other in PROBES:
        run_probe(make(other), used)
    torch.rand(7)
    assert run_probe(make(name), used)[0].values == fresh.values


@probes
@pytest.mark.parametrize("inputs", ["clean", "adversarial"])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_measures_what_is_asked_for(name, split, inputs):
    if name == "phases" and split == "train":
        with pytest.raises(ProbeError, match="against that on train; ask for split test or val"):
            run_probe(make(name, splits=[split], inputs=[inputs]), make_snapshot())
        return
    measurement, _ = run_probe(make(name, splits=[split], inputs=[inputs]), make_snapshot())
    assert {(value.split, value.inputs) for value in measurement.values} == {(split, inputs)}


@probes
def test_an_absent_split_is_refused_clearly(name):
    with pytest.raises(ProbeError, match="'val' is empty or absent; this data has: train, test"):
        run_probe(make(name, splits=["val"]), make_snapshot(splits=("test",)))


@probes
def test_without_its_default_split_it_says_so(name):
    snapshot = make_snapshot()
    snapshot = replace(snapshot, data=type(snapshot.data)("none", {}, ("a",), (0.0,), (1.0,)))
    with pytest.raises(ProbeError, match="empty or absent"):
        run_probe(make(name), snapshot)


@probes
def test_adversarial_inputs_without_an_attack_are_refused(name):
    with pytest.raises(ProbeError, match=r"needs? an attack|empty or absent"):
        run_probe(make(name, inputs=["adversarial"]), make_snapshot(attack=False))


@probes
def test_without_an_attack_clean_inputs_are_the_default(name):
    measurement, _ = run_probe(make(name), make_snapshot(attack=False))
    assert {value.inputs for value in measurement.values} == {"clean"}


def test_what_a_probe_needs_it_says():
    with pytest.raises(ProbeError, match="theta_0"):
        run_probe(make("iiw"), make_snapshot(reference=False))
    with pytest.raises(ProbeError, match=r"model\.penultimate"):
        run_probe(make("features"), make_snapshot(penultimate=None))
    weights_alone = replace(make_snapshot(), history=None)
    with pytest.raises(ProbeError, match="phases: needs the records of a run"):
        run_probe(make("phases"), weights_alone)


@pytest.mark.parametrize("layer", ["conv", "head"])
@probes
def test_a_diverged_model_gives_numbers_that_are_not_finite(name, layer):
    """A run that diverges is recorded as such to its end; no probe stops it, and none makes up a number."""
    model = awkward_model()
    getattr(model, layer).weight.data.fill_(float("nan"))
    probe = make(name, **({"tsne": "always"} if name == "features" else {}))
    measurement, _ = run_probe(probe, make_snapshot(model, attack=False))
    finite = {value.field.split("/")[0] for value in measurement.values if np.isfinite(value.value)}
    expected = {
        "memorisation": {"share_untouched", "acc_given", "acc_true", "fitted"},  # an argmax exists in any case
        "gradient-norm": {"layer"},  # 0 for the parameter that is never used
        "hessian": {"layer"},  # likewise
        "features": {"silhouette", "knn_acc", "distance_ratio"} if layer == "head" else set(),
        "phases": {field.name for field in PROBES["phases"].fields}
        - RARE["phases"],  # it reads records, and looks at no model
    }
    assert finite == expected.get(name, set())
    assert all(np.isfinite(array).all() for key, array in measurement.arrays.items() if key.startswith("tsne"))


@pytest.mark.parametrize(
    ("name", "options"), [("gradient-norm", {}), ("hessian", {}), ("hessian", {"estimator": "pyhessian"})]
)
def test_a_model_that_is_frozen_whole_is_refused_in_one_line(name, options):
    model = awkward_model().requires_grad_(False)
    with pytest.raises(ProbeError, match="no trainable parameter") as caught:
        run_probe(make(name, **options), make_snapshot(model))
    assert "\n" not in str(caught.value)


def test_a_reference_that_lacks_a_trainable_parameter_is_refused():
    snapshot = make_snapshot()
    whole = snapshot.reference
    snapshot = replace(snapshot, reference={key: value for key, value in whole.items() if key != "head.bias"})
    with pytest.raises(ProbeError, match=r"lacks 'head\.bias'"):
        run_probe(make("iiw"), snapshot)
    of_theta = {key: value for key, value in whole.items() if key != "bn.bias"}  # that one is frozen
    run_probe(make("iiw"), replace(snapshot, reference=of_theta))
    with pytest.raises(ProbeError, match="theta_0"):
        run_probe(make("iiw"), replace(snapshot, reference={}))


def test_features_that_all_coincide_have_no_map():
    model = awkward_model()
    model.conv.weight.data.zero_()
    measurement, _ = run_probe(make("features", tsne="always"), make_snapshot(model))
    assert "tsne-test-clean" not in measurement.arrays
    assert "tsne-test-clean" in run_probe(make("features", tsne="always"), make_snapshot())[0].arrays


def test_a_view_is_the_first_samples_of_the_probe_order():
    snapshot = make_snapshot()
    small, large = snapshot.view("train", "adversarial", 10), snapshot.view("train", "adversarial", 37)
    assert torch.equal(small.x, large.x[:10])
    assert torch.equal(small.logits, large.logits[:10])
    assert torch.equal(small.index, snapshot.data.splits["train"].order[:10])
    reverse = make_snapshot()
    assert torch.equal(reverse.view("train", "adversarial", 37).x, large.x)


@pytest.mark.parametrize(
    ("name", "options", "fields"),
    [
        ("iiw", {"estimator": "expected-fisher"}, {"iiw-expected-fisher", "distance", "layer-expected-fisher"}),
        ("iiw", {"estimator": "pib-reference", "layers": False}, {"iiw-pib-reference", "distance"}),
        ("hessian", {"estimator": "pyhessian", "top_k": 3}, {"trace-pyhessian", "top_eigenvalue-pyhessian"}),
    ],
)
def test_other_estimators_are_named_apart(name, options, fields):
    model = awkward_model()
    del model.unused
    measurement, _ = run_probe(make(name, **options), make_snapshot(model))
    assert {value.field.split("/")[0] for value in measurement.values} == fields
    plain, _ = run_probe(make(name), make_snapshot(model))
    assert not fields - {"distance"} & {value.field.split("/")[0] for value in plain.values}


def test_a_probe_that_emits_a_stray_field_is_caught():
    class Stray(PROBES["calibration"]):
        fields = PROBES["calibration"].fields[:1]

    with pytest.raises(
        ValueError,
        match="undeclared fields: brier, ece_adaptive, ece_classwise, ece_scaled, mce, nll, nll_scaled, temperature",
    ):
        run_probe(Stray(), make_snapshot())


def test_adversarial_views_lie_in_the_threat_model():
    snapshot: Snapshot = make_snapshot()
    clean, adv = snapshot.view("test", "clean"), snapshot.view("test", "adversarial")
    assert (adv.x - clean.x).abs().max() <= 0.1 + 1e-6
    losses = [torch.nn.functional.cross_entropy(view.logits, view.y).item() for view in (clean, adv)]
    assert losses[1] > losses[0]
