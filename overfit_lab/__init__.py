"""overfit-lab: see when, why and how adversarially trained networks overfit robustly.

The names below are what programs import, ``from overfit_lab import Monitor``; each is loaded when it is first asked
for, so that ``import overfit_lab`` costs nothing.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from overfit_lab.moved import OldPaths

if TYPE_CHECKING:
    from overfit_lab.importing.log import import_log as import_log
    from overfit_lab.methods.attacks.pgd import PGD as PGD
    from overfit_lab.methods.threat import ThreatModel as ThreatModel
    from overfit_lab.monitor.integrations.lightning import OverfitCallback as LightningCallback
    from overfit_lab.monitor.integrations.transformers import OverfitCallback as TransformersCallback
    from overfit_lab.monitor.monitor import Monitor as Monitor

__version__ = "0.1.0"

_PUBLIC = {
    "LightningCallback": ("overfit_lab.monitor.integrations.lightning", "OverfitCallback"),
    "Monitor": ("overfit_lab.monitor.monitor", "Monitor"),
    "PGD": ("overfit_lab.methods.attacks.pgd", "PGD"),
    "ThreatModel": ("overfit_lab.methods.threat", "ThreatModel"),
    "TransformersCallback": ("overfit_lab.monitor.integrations.transformers", "OverfitCallback"),
    "import_log": ("overfit_lab.importing.log", "import_log"),
}
__all__ = ["PGD", "LightningCallback", "Monitor", "ThreatModel", "TransformersCallback", "__version__", "import_log"]

sys.meta_path.append(OldPaths())


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'overfit_lab' has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
