"""Every objective with every label mode and every regularizer: it trains, or it is refused with its reason."""

import math

import pytest
import torch
from pydantic import model_validator

from overfit_lab.config.catalog import LABELS, OBJECTIVES, REGULARIZERS, SCHEDULES
from overfit_lab.errors import ConfigError
from overfit_lab.methods.labels.base import Refresh
from overfit_lab.training.build import build
from overfit_lab.training.complete import complete
from overfit_lab.training.events import EpochEnded, EventBus
from overfit_lab.training.loop import train
from parts import part
from tiny import tiny_config


def config_of(objective, labels, regularizer, teacher, **changes):
    added = [part(REGULARIZERS, regularizer, teacher)] if regularizer else []
    return tiny_config(
        part(LABELS, labels, teacher),
        objective=part(OBJECTIVES, objective, teacher),
        regularizers=added,
        **{
            "epochs": 1,
            "schedule": {"name": "constant"},
            "probes": {},
            "evaluation": {"n_steps": 1, "n_test": 32, "n_train": 32},
            **changes,
        },
    )


def reason(objective, labels, regularizer):
    """Why a combination makes no sense, in the words that its refusal must have; None where it does."""
    if regularizer is None or not REGULARIZERS[regularizer].mixes_samples:
        return None
    if LABELS[labels].refresh is not Refresh.NEVER:
        return f"label mode '{labels}' remembers"
    return f"objective '{objective}' needs one" if OBJECTIVES[objective].one_label_each else None


@pytest.mark.parametrize("regularizer", [None, *REGULARIZERS])
@pytest.mark.parametrize("labels", list(LABELS))
@pytest.mark.parametrize("objective", list(OBJECTIVES))
def test_trains_one_epoch_or_is_refused(objective, labels, regularizer, teacher_run):
    config = config_of(objective, labels, regularizer, teacher_run)
    why = reason(objective, labels, regularizer)
    if why:
        with pytest.raises(ConfigError, match=why):
            complete(config)
        return
    session = build(config, torch.device("cpu"))
    before = [p.detach().clone() for p in session.model.parameters()]
    ended = []
    bus = EventBus()
    bus.on(EpochEnded, ended.append)
    train(session, bus)
    losses = [value.value for value in ended[0].values if value.field.startswith("loss")]
    assert losses
    assert all(map(math.isfinite, losses))
    assert not any(torch.equal(a, b) for a, b in zip(before, session.model.parameters(), strict=True))


REFUSED = {
    "MART without an attack": ({"objective": "mart", "attack": {"n_steps": 0}}, "attack makes none"),
    "TRADES in a ball of radius 0": ({"objective": "trades", "attack": {"eps": 0}}, "attack.eps = 0"),
    "ALP without an attack": ({"objective": "alp", "attack": {"n_steps": 0}}, "attack makes none"),
    "kd without a teacher": ({"labels": "kd"}, "labels 'kd': needs a teacher"),
    "kd-at without its robust teacher": (
        {"regularizers": [{"name": "kd-at", "robust_teacher": None}]},
        "regularizers 'kd-at': needs a teacher",
    ),
    "temporal ensembling of mixed samples": ({"labels": "te", "regularizers": ["mixup"]}, "remembers one prediction"),
    "SGLR of mixed samples": ({"labels": "sglr", "regularizers": ["mixup"]}, "remembers one prediction"),
    "MART with two labels an image": ({"objective": "mart", "regularizers": ["mixup"]}, "needs one"),
    "early stopping without validation": (
        {"regularizers": ["early-stopping"], "data": {"name": "digits", "n_train": 96, "n_test": 64}},
        "set data.n_val",
    ),
    "cutout twice": (
        {"regularizers": ["cutout"], "data": {"name": "digits", "n_train": 96, "augment": ["cutout"]}},
        "in data.augment already",
    ),
    "swa twice": ({"regularizers": ["kd-swa", "swa"]}, "has swa in it"),
    "an average of no weights": ({"regularizers": [{"name": "swa", "start_epoch": 4}]}, "swa would never act"),
    "perturbed weights after the end": ({"regularizers": [{"name": "awp", "start_epoch": 9}]}, "awp would never act"),
    "an average from the end on": ({"regularizers": [{"name": "ema", "start_epoch": "100%"}]}, "ema would never act"),
    "both halves after the end": ({"regularizers": [{"name": "kd-swa", "start_epoch": 4}]}, "kd-swa would never act"),
    "label memory after the end": ({"labels": {"name": "sglr", "start_epoch": 4}}, "sglr would never act"),
    "a warm-up beyond the end": ({"optimizer": {"warmup": 5}}, "optimizer.warmup = 5: the run ends after 4 epochs"),
    "a radius that grows beyond the end": (
        {"attack": {"eps_schedule": {"name": "ramp", "until": 5}}},
        "eps_schedule.until = 5: the run ends after 4 epochs",
    ),
    "a learning rate that rises beyond the end": (
        {"schedule": {"name": "ramp", "until": 5}},
        "schedule.until = 5: the run ends after 4 epochs",
    ),
    "a pull that grows beyond the end": (
        {"labels": {"name": "te", "start_epoch": 1, "ramp_end": 5}},
        "labels.ramp_end = 5: the run ends after 4 epochs",
    ),
    "a peak after the end": (
        {"schedule": {"name": "cyclic", "peak": 9}},
        "schedule.peak = 9: a cycle ends after 4 of the run's 4 epochs",
    ),
    "a peak at the end of its cycle": (
        {"attack": {"eps_schedule": {"name": "cyclic", "peak": "100%"}}},
        "attack.eps_schedule.peak = 100%: a cycle ends after 4",
    ),
    "a peak after its cycle": (
        {"schedule": {"name": "cyclic", "peak": 3, "n_cycles": 2}},
        "schedule.peak = 3: a cycle ends after 2 of the run's 4 epochs",
    ),
    "a regularizer listed twice": ({"regularizers": ["awp", "awp"]}, "listed 2 times"),
    "more than everything to teachers": ({"regularizers": [{"name": "kd-at", "l1": 0.5}]}, "expected at most 1"),
    "noise as the attack of evaluation": ({"evaluation": {"attack": "gaussian-noise"}}, "evaluation.corruption"),
    "an attack as corruption": ({"evaluation": {"corruption": "pgd"}}, "expected a noise"),
    "a ramp that ends before it begins": ({"labels": {"name": "te", "ramp_end": "10%"}}, "comes before start_epoch"),
    "an unknown option of a regularizer": (
        {"regularizers": [{"name": "awp", "gama": 1}]},
        r"regularizers.awp.gama: .*did you mean.*gamma",
    ),
    "an unknown regularizer": ({"regularizers": ["awb"]}, "did you mean.*awp"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_makes_no_sense_is_refused_in_one_line(case):
    changes, why = REFUSED[case]
    with pytest.raises(ConfigError, match=why) as caught:
        complete(tiny_config(changes.pop("labels", "hard") if "labels" in changes else "hard", **changes))
    assert "\n" not in str(caught.value)


def test_each_components_options_are_parsed_once_a_run(monkeypatch):
    parsed = []

    def watch(cls):
        class Watched(cls.Options):
            @model_validator(mode="after")
            def _count(self):
                parsed.append(cls.__name__)
                return self

        monkeypatch.setattr(cls, "Options", Watched)
        return cls.__name__

    names = [
        watch(OBJECTIVES["trades"]),
        watch(LABELS["smooth"]),
        watch(SCHEDULES["cosine"]),
        watch(SCHEDULES["ramp"]),
        watch(REGULARIZERS["cutout"]),
        watch(REGULARIZERS["ema"]),
    ]
    build(
        tiny_config(
            "smooth",
            objective="trades",
            schedule="cosine",
            regularizers=["cutout", "ema"],
            attack={"eps_schedule": {"name": "ramp", "until": 2}},
        ),
        torch.device("cpu"),
    )
    assert sorted(parsed) == sorted(names)
