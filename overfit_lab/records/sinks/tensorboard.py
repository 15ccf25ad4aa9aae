"""TensorBoard event files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from overfit_lab.errors import ConfigError
from overfit_lab.records.records import Record
from overfit_lab.records.sinks.base import Beginning, Sink, flat, scalars

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

HEADLINE = "test/adversarial/evaluation/acc_adv"


class TensorBoardSink(Sink):
    """TensorBoard: scalars over epochs and the configuration as hyperparameters, in RUN/tensorboard.

    A resumed run goes on in the same folder; steps that it does again replace the old ones (``purge_step``).

    Args:
        folder: where to write in place of RUN/tensorboard.
    """

    package = "tensorboard"

    def __init__(self, folder: str | Path | None = None) -> None:
        self._folder = Path(folder) if folder is not None else None
        self._writer: SummaryWriter | None = None

    def begin(self, run: Beginning) -> None:
        """Open an event file."""
        from torch.utils.tensorboard import SummaryWriter

        folder = self._folder if self._folder is not None or run.folder is None else run.folder / "tensorboard"
        if folder is None:
            raise ConfigError("tensorboard needs a folder: give the monitor one, or TensorBoardSink(folder)")
        purge = run.after + 1 if run.after or folder.exists() else None
        self._writer = SummaryWriter(str(folder), purge_step=purge)  # type: ignore[no-untyped-call]
        if not run.after:
            self._write_config(run)

    def _write_config(self, run: Beginning) -> None:
        """The configuration for the HPARAMS tab, in this event file and not in one of a run of its own."""
        from torch.utils.tensorboard.summary import hparams

        assert self._writer is not None
        for summary in hparams(flat(run.config), {HEADLINE: 0.0}):  # type: ignore[no-untyped-call]
            self._writer.file_writer.add_summary(summary)  # type: ignore[attr-defined, union-attr]

    def records(self, records: Sequence[Record]) -> None:
        """One scalar a number, at step = epoch; on disk when this returns."""
        assert self._writer is not None
        for name, value in scalars(records).items():
            self._writer.add_scalar(name, value, records[0].epoch)  # type: ignore[no-untyped-call]
        self._writer.flush()  # type: ignore[no-untyped-call]

    def end(self, status: str) -> None:
        """Close the event file."""
        assert self._writer is not None
        self._writer.close()  # type: ignore[no-untyped-call]


REGISTER = {"tensorboard": TensorBoardSink}
