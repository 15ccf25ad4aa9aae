"""Without the packages on request: one line, and everything else works."""

import subprocess
import sys

import pytest

HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("lightning", "pytorch_lightning", "transformers", "accelerate"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hidden())
import importlib.util
real = importlib.util.find_spec
hidden = ("lightning", "pytorch_lightning", "transformers", "accelerate")
importlib.util.find_spec = lambda name, package=None: None if name in hidden else real(name, package)
"""


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("overfit_lab.monitor.integrations.lightning", "lightning"),
        ("overfit_lab.monitor.integrations.transformers", "transformers"),
    ],
)
def test_the_line_says_how_to_get_it(module, extra):
    code = f"""{HIDE}
import overfit_lab, overfit_lab.monitor.monitor
from overfit_lab.errors import OverfitLabError
try:
    import {module}
except ImportError as error:
    assert isinstance(error, OverfitLabError)
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{extra} is not installed; pip install 'overfit-lab[{extra}]'"


def test_the_monitor_loads_neither():
    code = "import sys, overfit_lab.monitor.monitor; assert not {'lightning', 'pytorch_lightning'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
