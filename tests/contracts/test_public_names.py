"""What programs import from the top, and paths of earlier releases that still work and say so."""

import importlib
import subprocess
import sys

import pytest

import overfit_lab
from overfit_lab.moved import MOVED

OLD = {
    "overfit_lab.monitor": ("Monitor", "Monitor"),
    "overfit_lab.attacks.pgd": ("PGD", "PGD"),
    "overfit_lab.threat": ("ThreatModel", "ThreatModel"),
    "overfit_lab.integrations.lightning": ("OverfitCallback", "LightningCallback"),
    "overfit_lab.integrations.transformers": ("OverfitCallback", "TransformersCallback"),
}
"""Path of an earlier release: a name that was imported from it, and what it is called at the top now."""


def public_name(name):
    pytest.importorskip({"LightningCallback": "lightning", "TransformersCallback": "transformers"}.get(name, "torch"))
    return getattr(overfit_lab, name)


@pytest.mark.parametrize("name", [name for name in overfit_lab.__all__ if name != "__version__"])
def test_every_public_name_is_there_and_listed(name):
    assert callable(public_name(name))
    assert name in dir(overfit_lab)


def test_an_unknown_name_is_no_attribute():
    with pytest.raises(AttributeError, match="'Moniter'"):
        overfit_lab.Moniter  # noqa: B018


@pytest.mark.parametrize("path", OLD)
def test_an_old_path_gives_the_same_object_and_names_the_new_one(path):
    old, new = OLD[path]
    today = public_name(new)
    sys.modules.pop(path, None) if path in MOVED else None
    scope = {}
    with pytest.warns(DeprecationWarning, match=f"{path} has moved: write `from overfit_lab import {new}`") as caught:
        exec(f"from {path} import {old}", scope)
    assert scope[old] is today
    assert {warning.filename for warning in caught} == {"<string>"}  # the line of the import, not one of ours


def test_an_old_path_has_no_name_that_was_never_there():
    with pytest.raises(ImportError):
        exec("from overfit_lab.monitor import Moniter", {})
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("overfit_lab.attacks.pdg")


def test_every_moved_path_is_tried():
    assert {path for path, (today, _) in MOVED.items() if today} == OLD.keys() - {"overfit_lab.monitor"}


def test_no_module_of_ours_goes_by_an_old_path():
    code = (
        "import warnings; warnings.filterwarnings('error', message='.*has moved: write.*')\n"
        "import pkgutil, importlib, overfit_lab\n"
        "for m in pkgutil.walk_packages(overfit_lab.__path__, 'overfit_lab.'):\n"
        "    if 'monitor.integrations.' not in m.name and not m.name.endswith('__main__'):\n"
        "        importlib.import_module(m.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
