"""The monitor as a callback of Lightning's Trainer (packages ``lightning`` and ``pytorch_lightning``)."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from torch import Tensor, nn

from overfit_lab.errors import ConfigError, ProbeError, missing
from overfit_lab.monitor.fits import Fits
from overfit_lab.monitor.monitor import Monitor
from overfit_lab.records.records import FIELDS

if TYPE_CHECKING:
    BASES: tuple[type, ...] = (object,)


def _bases() -> tuple[type, ...]:
    """The base classes of callbacks in whichever of the two packages is in use; of both, where both are."""
    bases: list[type] = []
    for name in ("lightning", "pytorch_lightning"):
        wanted = name in sys.modules or not bases
        if wanted and importlib.util.find_spec(name) is not None:
            module = importlib.import_module("lightning.pytorch" if name == "lightning" else name)
            bases.append(module.Callback)
    if not bases:
        raise missing("lightning", "lightning")
    return tuple(bases)


class _Watch:
    """What the callback does; see :class:`OverfitCallback`."""

    def __init__(
        self,
        data: Any,
        *,
        model: Callable[[Any], nn.Module] | None = None,
        log: Sequence[str] = (),
        folder: str | Path | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self._fits = Fits(data, folder, options)
        self._model = model
        self._log = _checked(log)
        self._state: dict[str, Any] | None = None
        self._step = 0
        self._batch = self._pending = 0

    @property
    def monitor(self) -> Monitor | None:
        """That of the present fit, or of the last one."""
        return self._fits.monitor

    @property
    def records(self) -> pd.DataFrame:
        """What was measured so far; empty before the fit and on processes other than the first."""
        return self.monitor.records if self.monitor is not None else pd.DataFrame(columns=list(FIELDS))

    def batch(self, index: Any, logits: Tensor, y: Any, *, inputs: str | None = None) -> None:
        """As :meth:`overfit_lab.monitor.monitor.Monitor.batch`, from within ``training_step``; the first process's."""
        if self.monitor is not None:
            self.monitor.batch(index, logits, y, inputs=inputs)

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """The weights now are theta_0, unless a checkpoint carries it or the same network is fitted on.

        A ``fast_dev_run`` is a trial: it leaves the run folder free.
        """
        if not trainer.is_global_zero:
            return
        completed = trainer.ckpt_path is not None
        if completed and self._state is None:
            raise ProbeError(
                "the checkpoint that the fit resumes from carries no theta_0, since it was written without this "
                "callback; iiw would measure from weights that are trained already"
            )
        net = self._model(pl_module) if self._model is not None else pl_module
        self._fits.begin(
            net,
            n_epochs=trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None,
            counted=trainer.current_epoch,
            resumes=completed,
            is_trial=bool(getattr(trainer, "fast_dev_run", False)),
        )
        self._step = self._batch = self._pending = 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """A resumed fit knows only now how many epochs are complete."""
        if self.monitor is not None and self._state is not None:
            self._fits.load_state_dict(self._state, trainer.current_epoch)
            self._state = None

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """What a step reads within one batch is one step, however many optimisers and closures there are."""
        self._step += 1
        self._batch = batch_size_of(batch)

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        """The batch's samples are in the gradient; those of a batch that was skipped are not."""
        self._pending, self._batch = self._pending + self._batch, 0

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Gradients are whole: of all accumulated batches, unscaled, and not yet clipped."""
        if self.monitor is not None:
            scaler = getattr(trainer.precision_plugin, "scaler", None)
            self.monitor.gradients_ready(n=self._pending or None, step=self._step, optimizer=optimizer, scaler=scaler)
        self._pending = 0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """The loss that ``training_step`` returned; Lightning hands it on divided by the batches it accumulates.

        Where it also returned ``index``, ``logits`` and ``y``, the dynamics of these samples.
        """
        if isinstance(outputs, Mapping) and {"index", "logits", "y"} <= outputs.keys():
            self.batch(outputs["index"], outputs["logits"], outputs["y"], inputs=outputs.get("inputs"))
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if self.monitor is not None and isinstance(loss, Tensor) and loss.numel() == 1:
            parts = trainer.accumulate_grad_batches if pl_module.automatic_optimization else 1
            self.monitor.loss_known(loss.reshape(()) * parts, batch_size_of(batch) or None)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Evaluate, probe and record, on the first process alone."""
        if self.monitor is None:
            return
        epoch = trainer.current_epoch + 1 + self._fits.before
        stops = trainer.should_stop or 0 <= trainer.max_steps <= trainer.global_step
        is_last = bool(
            stops or (trainer.max_epochs is not None and 0 < trainer.max_epochs <= epoch - self._fits.before)
        )
        self.monitor.epoch_ended(epoch, is_last=is_last)
        self._send(trainer, epoch)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """The run folder, where there is one, is complete."""
        if self.monitor is not None:
            self.monitor.close("interrupted" if trainer.interrupted else "completed")

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """The run folder says that training ended early."""
        if self.monitor is not None:
            self.monitor.close("interrupted" if isinstance(exception, KeyboardInterrupt) else "failed")

    def state_dict(self) -> dict[str, Any]:
        """Goes into Lightning's checkpoints: theta_0, clock and records."""
        return self._fits.state_dict() or dict(self._state or {})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What a checkpoint of Lightning's carries."""
        self._state = state_dict or None

    def _send(self, trainer: Any, epoch: int) -> None:
        """The chosen numbers of this epoch to Lightning's loggers, as ``PROBE/FIELD/SPLIT/INPUTS``."""
        if not self._log or self.monitor is None:
            return
        numbers = {}
        for row in self.records.to_dict("records"):
            chosen = row["epoch"] == epoch and f"{row['probe']}/{row['field']}" in self._log
            if chosen and not pd.isna(row["value"]):
                parts = [str(row[key]) for key in ("probe", "field", "split", "inputs")]
                numbers["/".join(part for part in parts if part)] = float(row["value"])
        for logger in trainer.loggers if numbers else ():
            logger.log_metrics(numbers, step=trainer.global_step)


def _checked(log: Sequence[str]) -> tuple[str, ...]:
    for wanted in [log] if isinstance(log, str) else log:
        probe, _, field = wanted.partition("/")
        if not probe or not field:
            raise ConfigError(f"log: {wanted!r}; expected PROBE/FIELD, such as iiw/iiw or evaluation/acc_adv")
    return (log,) if isinstance(log, str) else tuple(log)


def batch_size_of(batch: Any) -> int:
    """Samples of a batch: the length of the first tensor in it; 0 where there is none."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.dim() else 0
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, (tuple, list)) else ()
    return next((size for size in map(batch_size_of, parts) if size), 0)


if not TYPE_CHECKING:
    BASES = _bases()


class OverfitCallback(_Watch, *BASES):  # type: ignore[misc]
    """Watches a fit of Lightning's: three lines, and nothing of the model or of training changes.

    Measured is the module that is fitted, whose ``forward`` has to map images in [0, 1] to logits, at the end of each
    training epoch, on the first process. The mini-batch gradient norm is read before each optimiser step: of
    all accumulated batches together, with a gradient scaler's factor taken out, before clipping. A batch whose
    ``training_step`` returns None is no step, nor is one that the scaler passes over since its gradients overflow.
    Steps of several optimisers, and calls of LBFGS's closure, within one batch are one step. Modules whose parameters
    are sharded (FSDP, DeepSpeed) are not for this callback.

    theta_0 is what the weights are when the fit starts. Lightning's checkpoints carry it, so a resumed fit goes on
    from it and from the records.

    Where ``training_step`` returns a mapping with ``index``, ``logits`` and ``y`` beside ``loss`` (and ``inputs``,
    adversarial or clean), per-sample dynamics are kept of what the first process sees, see docs/dynamics.md.

    Args:
        data: as for :class:`overfit_lab.monitor.monitor.Monitor`.
        model: picks the network out of the module, such as ``lambda module: module.net``; None: the module itself.
        log: numbers for Lightning's loggers, as ``PROBE/FIELD``: ``("iiw/iiw", "evaluation/acc_adv")``.
        **options: every other argument of the monitor, such as ``method``, ``seed``, ``config`` and ``tags``, which
            tell runs apart.

    Raises:
        MissingPackageError: on import, where Lightning is not installed.
    """


__all__ = ["OverfitCallback"]
