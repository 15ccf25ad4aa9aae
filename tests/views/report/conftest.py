"""One page of good runs and one of hostile ones, made once a test process."""

from contextlib import contextmanager

import pytest
from reports import HOSTILE, PICTURES, Page, make_diagnosis, make_hostile, make_runs

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
def hostile_text(tmp_path_factory):
    with known_findings_and_quick_figures():
        return make_report([make_hostile(tmp_path_factory.mktemp("hostile"))], "".join(HOSTILE))
