"""A number says by which labels and from how many samples it was made."""

import pytest
import torch

from overfit_lab.config.catalog import PROBES
from overfit_lab.config.options import parse_options
from overfit_lab.probes.base import run_probe
from overfit_lab.training.build import build
from tiny import tiny_config

CPU = torch.device("cpu")


def measured(name, session, **options):
    probe = PROBES[name](parse_options(PROBES[name], {"inputs": ["clean"], **options}, prefix=name))
    return run_probe(probe, session.snapshot())[0].values


@pytest.mark.parametrize(
    ("estimator", "labels"), [("empirical-fisher", "given"), ("pib-reference", "given"), ("expected-fisher", "")]
)
def test_information_in_the_weights_says_whose_labels_it_was_taken_to(estimator, labels):
    session = build(tiny_config("hard"), CPU)
    with torch.no_grad():
        for parameter in session.model.parameters():
            parameter.add_(0.01)
    values = measured("iiw", session, n=24, estimator=estimator)
    of_information = [value for value in values if value.field.startswith(("iiw", "layer"))]
    assert len(of_information) > 2
    assert {value.labels for value in of_information} == {labels}


def test_a_temperature_counts_the_samples_that_it_was_fitted_to():
    """Those of the validation split where there is one, no more than the probe's n; else those of the view."""
    data = tiny_config().data.model_dump()
    for n_val, expected in ((32, 20), (12, 12), (0, 20)):
        session = build(tiny_config("hard", data={**data, "n_val": n_val}), CPU)
        values = measured("calibration", session, n=20, splits=["test"])
        (found,) = [value.n for value in values if value.field == "temperature"]
        assert found == expected
        assert {value.n for value in values if value.field == "ece_scaled"} == {20}
