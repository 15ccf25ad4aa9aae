"""What a run trains before its first step is one list."""

import torch

from overfit_lab.training.build import build
from overfit_lab.training.run import needed_first
from tiny import tiny_config

PRIOR = {"metrics": ["iiw"], "options": {"iiw": {"prior": "held-out", "prior_epochs": 2}}}
TEACHER = {"name": "kd", "teacher": "train:standard"}


def test_teachers_come_first_and_then_what_probes_need():
    config = tiny_config(TEACHER, probes=PRIOR, data={"n_val": 20})
    session = build(config, torch.device("cpu"))
    teacher, prior = needed_first(session)
    assert (teacher.name, teacher.config.objective.name, teacher.view) == ("standard", "standard", None)
    assert (prior.name, prior.n_epochs) == ("held-out-2", 2)
    assert list(prior.view.splits) == ["train"]
    assert torch.equal(prior.view.splits["train"].x, session.data.splits["val"].x)
    assert prior.start is session.reference


def test_what_is_there_is_not_trained_again():
    config = tiny_config("hard", probes=PRIOR, data={"n_val": 20})
    session = build(config, torch.device("cpu"))
    (prior,) = needed_first(session)
    session.priors.train_first(prior)
    assert needed_first(session) == []


def test_a_plain_run_needs_nothing():
    assert needed_first(build(tiny_config("hard", probes={}), torch.device("cpu"))) == []
