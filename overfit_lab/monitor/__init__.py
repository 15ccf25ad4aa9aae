"""Any training loop, watched: the monitor, and callbacks of other trainers."""

from typing import Any

from overfit_lab.moved import old_name


def __getattr__(name: str) -> Any:
    return old_name(__name__, name, f"{__name__}.monitor")  # `from overfit_lab.monitor import Monitor`, as it once was
