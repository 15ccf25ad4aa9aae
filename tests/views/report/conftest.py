"""One page of good runs and one of hostile ones, made once a test process."""

from contextlib import contextmanager

import pytest
from reports import HOSTILE, PICTURES, Page, make_diagnosis, make_hostile, make_runs, picture

from hostile import EVERYTHING, HTML, MARKDOWN, hostile_run
from overfit_lab.config.catalog import FIGURES
from overfit_lab.views.diagnosis import diagnose
from overfit_lab.views.report import drawings
from overfit_lab.views.report.page import make_report


@contextmanager
def known_findings_and_quick_figures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diagnose, "diagnose", make_diagnosis)
        patch.setattr(drawings, "FIGURES", PICTURES)
        yield


@pytest.fixture
def diagnosed():
    with known_findings_and_quick_figures():
        yield


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    return make_runs(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="session")
def text(runs):
    with known_findings_and_quick_figures():
        return make_report(runs, "A title")


@pytest.fixture(scope="session")
def page(text):
    return Page(text)


@pytest.fixture(scope="session")
def hostile_runs(tmp_path_factory):
    """Runs with a text that does something in every field that a folder can hold."""
    folder = tmp_path_factory.mktemp("everywhere")
    return [hostile_run(folder, text, seed) for seed, text in enumerate((HTML, EVERYTHING, MARKDOWN))]


@pytest.fixture(scope="session")
def hostile_everywhere(hostile_runs):
    """Their page, with the diagnosis and the charts that they give and without figures, which are images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawings, "FIGURES", dict.fromkeys(FIGURES, picture))
        return make_report(hostile_runs, HTML + EVERYTHING.replace("\ud83d", ""))


@pytest.fixture(scope="session")
def hostile_text(tmp_path_factory):
    with known_findings_and_quick_figures():
        return make_report([make_hostile(tmp_path_factory.mktemp("hostile"))], "".join(HOSTILE))
