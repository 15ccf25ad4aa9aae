"""Nothing is lost, whatever file operation fails or is the last one before a kill. All of them: `make faults`."""

import pytest

from faults.faulty_disk import KINDS, Fault
from faults.scenarios import SCENARIOS
from faults.trials import count, places, prepare, problems_of

MOST = 2
"""Operations of a scenario and kind that are tried here; `make faults` tries each."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Templates and final states, made once."""
    made = {}

    def get(name):
        if name not in made:
            template = tmp_path_factory.mktemp("faults") / name
            made[name] = template, prepare(SCENARIOS[name], template)
        return made[name]

    return get


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_fault_loses_nothing(name, kind, prepared, tmp_path):
    template, expected = prepared(name)
    for at in places(count(SCENARIOS[name], kind, template, tmp_path / "count"), MOST):
        wrong, _ = problems_of(SCENARIOS[name], Fault(kind, at), template, tmp_path / "run", expected)
        assert not wrong, f"{name}, {kind} at operation {at}: {wrong}"
