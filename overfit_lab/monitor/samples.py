"""Per-sample training dynamics from the batches of anybody's loop."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from overfit_lab.errors import ProbeError
from overfit_lab.files.columns import Columns
from overfit_lab.records.dynamics import VIEWS, FolderDynamics, SampleDynamics, form_of, running_columns
from overfit_lab.records.dynamics_writer import DynamicsWriter, drop_dynamics_after, level_of
from overfit_lab.training.dynamics import Dynamics, Statistics


class Samples:
    """Gathers what a loop's logits say of each training sample, and writes it where there is a run folder.

    Args:
        n_samples: N, of the training split as it was given.
        device: of the model.
        keep: as ``dynamics.keep`` of the configuration.
        n_epochs: length of the run; 0 where it is not known.
    """

    def __init__(self, n_samples: int, device: torch.device, keep: str, n_epochs: int) -> None:
        self.keep, self.n_epochs = keep, n_epochs
        self.gathered = Dynamics(n_samples, device)
        self._writer: DynamicsWriter | None = None
        self._epoch = 0

    def add(self, index: Any, logits: Tensor, y: Any, view: str) -> None:
        """Take in a batch, see :meth:`overfit_lab.monitor.monitor.Monitor.batch`.

        Raises:
            ProbeError: the arguments do not fit together.
        """
        if self.keep == "none":
            return
        if view not in VIEWS:
            raise ProbeError(f"inputs {view!r}: expected {' or '.join(VIEWS)}")
        places, labels = torch.as_tensor(index), torch.as_tensor(y)
        shapes = [tuple(part.shape) for part in (places, logits, labels)]
        if logits.dim() != 2 or places.shape != logits.shape[:1] or labels.shape != logits.shape[:1]:
            raise ProbeError(f"index, logits and y are {', '.join(map(str, shapes))}; expected (b,), (b, K), (b,)")
        if any(part.is_floating_point() or part.dtype == torch.bool for part in (places, labels)):
            raise ProbeError(f"index and y are {places.dtype} and {labels.dtype}; expected whole numbers")
        device = self.gathered.device
        # Copies: a loop may fill the same memory with its next batch.
        places, labels = (p.to(device, torch.int64, non_blocking=True, copy=True) for p in (places, labels))
        self.gathered.take(view, places, labels, logits.detach().to(device, non_blocking=True))

    def end_epoch(self, epoch: int, folder: Path | None) -> int:
        """Close an epoch and write it; the rows of batches that counted for nothing.

        Raises:
            OSError: it cannot be written.
            RunFolderError: what is there is damaged.
        """
        if not self.gathered.views:
            return 0
        if folder is not None and self._writer is None:
            drop_dynamics_after(folder, epoch - 1)  # of a loop that did not say how far it had come
            keep = level_of(self.keep, self.gathered.n_samples, max(1, self.n_epochs), folder)
            self._writer = DynamicsWriter(folder, keep)
        self.gathered.end_epoch(epoch, self._writer.write if folder is not None and self._writer else _nowhere)
        self._epoch = epoch
        return sum(view.n_passed_over for view in self.gathered.views.values())

    def found(self, folder: Path | None) -> Mapping[str, SampleDynamics]:
        """What was gathered up to the last epoch's end; in memory statistics over epochs alone."""
        if folder is not None:
            return FolderDynamics(folder)
        return {name: self._in_memory(name) for name, view in self.gathered.views.items() if view.n_written}

    def _in_memory(self, name: str) -> SampleDynamics:
        view = self.gathered.views[name]
        statistics = Statistics(view.running)
        columns = running_columns(view.n_classes, probabilities="probabilities" in statistics)
        arrays = {key: value.copy()[None] for key, value in statistics.items()}
        form = form_of(view.n_samples, view.n_classes, columns, name)
        return SampleDynamics(name, None, Columns(form, (self._epoch,), arrays), "monitor")

    def state_dict(self) -> dict[str, Any]:
        """Tensors by name, as they stand now, and the epoch."""
        return {"epoch": self._epoch, **{k: t.detach().clone() for k, t in self.gathered.state_dict().items()}}

    def load_state_dict(self, state: Mapping[str, Any], epoch: int) -> None:
        """Go on from what :meth:`state_dict` gave, at the end of an epoch or within the next one.

        A state from before the end of the epoch is closed first, as it was then.

        Raises:
            ProbeError: it is of other samples or classes.
        """
        self._writer = None
        try:
            self.gathered.load_state_dict({key: tensor for key, tensor in state.items() if key != "epoch"})
        except ValueError as error:
            raise ProbeError(f"the state's {error}") from error
        self._epoch = int(state.get("epoch", 0))
        if self.gathered.views and epoch > self._epoch:
            self.gathered.end_epoch(epoch, _nowhere)
            self._epoch = epoch


def _nowhere(*_: object) -> None:
    """What is kept in memory alone, or lies in the folder already."""
