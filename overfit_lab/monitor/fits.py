"""The fits that a trainer's callback watches, one after the other, each by a monitor of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from overfit_lab.files.terminal import to_stderr
from overfit_lab.models.adapt import unwrapped
from overfit_lab.monitor.monitor import Monitor


class Fits:
    """Makes the monitor of each fit; one that fits the same network on goes on with theta_0, records and folder.

    Args:
        data: as for the monitor.
        folder: a run folder to write to.
        options: other arguments of the monitor.

    ``monitor`` is that of the present fit, or of the last one; ``before`` are the epochs of fits before it.
    """

    def __init__(self, data: Any, folder: str | Path | None, options: Mapping[str, Any]) -> None:
        self.monitor: Monitor | None = None
        self.before = 0
        self._data = data
        self._folder = folder
        self._options = options
        self._is_trial = False

    def begin(
        self, net: nn.Module, *, n_epochs: int | None, counted: int = 0, resumes: bool = False, is_trial: bool = False,
        **options: Any,
    ) -> Monitor:  # fmt: skip
        """A fit begins: its monitor.

        Args:
            net: the network that is measured.
            n_epochs: of this fit, and those that ``counted`` has in it; None where that is not known.
            counted: epochs that the trainer itself counts as done.
            resumes: it goes on from a checkpoint, whose state is loaded into the monitor afterwards.
            is_trial: it leaves no trace, neither a folder nor theta_0.
            options: arguments of the monitor that the user's own stand before.
        """
        previous = self.monitor
        goes_on = previous is not None and not (resumes or self._is_trial) and previous.model is unwrapped(net)
        state = previous.state_dict() if previous is not None and goes_on else None
        if previous is not None:
            previous.close("interrupted")  # of a fit that ended by an error; one that has ended stays as it is
        self.before = state["epoch"] - counted if state is not None and state["epoch"] else 0
        self._is_trial = is_trial
        length = {"n_epochs": n_epochs + self.before if n_epochs is not None else None}
        self.monitor = Monitor(
            net,
            self._data,
            folder=None if is_trial else self._folder,
            resume=resumes or state is not None,
            **{**length, **options, **self._options},
        )
        if state is not None:
            self.monitor.load_state_dict(state)
            if state["step"]:
                to_stderr(f"fitting on after epoch {state['epoch']}: theta_0 is still that of the first fit")
        return self.monitor

    def state_dict(self) -> dict[str, Any]:
        """What a trainer's checkpoint carries, of tensors and plain values; empty before the first fit."""
        return {**self.monitor.state_dict(), "before": self.before} if self.monitor is not None else {}

    def load_state_dict(self, state: Mapping[str, Any], counted: int) -> None:
        """The fit goes on from a checkpoint; ``counted`` epochs are done by the trainer's own count."""
        assert self.monitor is not None
        self.before = int(state.get("before", 0))
        self.monitor.load_state_dict(state, epoch=counted + self.before)
