"""The monitor as a callback of the Trainer of Hugging Face's transformers."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from torch import Tensor, nn

from overfit_lab.errors import ProbeError, RunFolderError, missing
from overfit_lab.files.tensorfile import read_tensors, write_tensors
from overfit_lab.models.adapt import Adapter
from overfit_lab.monitor.fits import Fits
from overfit_lab.monitor.monitor import Monitor
from overfit_lab.records.records import FIELDS

if TYPE_CHECKING:
    TrainerCallback: type = object
else:
    if importlib.util.find_spec("transformers") is None:
        raise missing("transformers", "transformers")
    from transformers import TrainerCallback

DYNAMICS = "dynamics/"
"""Before the names of tensors that are none of theta_0."""
STATE_FILE = "overfit-lab.safetensors"
"""Beside a checkpoint's weights: theta_0, clock and records."""


class OverfitCallback(TrainerCallback):  # type: ignore[misc]
    """Watches the training of an image classifier: three lines, and nothing of the model or of training changes.

    The model is called as ``model(pixel_values=images).logits`` on images in [0, 1]; where an image processor
    normalises them before they reach the model, give ``normalize=(processor.image_mean, processor.image_std)`` and data
    that are not normalised.

    Measured is at the end of each epoch, on the first process. The gradient norm is read before each
    optimiser step, of all accumulated batches together. The Trainer clips gradients before that, to 1 by default
    (``max_grad_norm``): the reading is then called ``grad_norm_minibatch-clipped``. With fp16 and without clipping
    gradients still hold the scaler's factor, so nothing is read. The loss is the Trainer's own to log.

    Per-sample dynamics are kept of what :meth:`batch` is given, see docs/dynamics.md.

    theta_0 is what the weights are when training starts; training the same network on keeps it, and says so. Each
    checkpoint folder gets ``overfit-lab.safetensors`` with it, and a resumed training takes it from there.

    Args:
        data: as for :class:`overfit_lab.Monitor`; samples may be mappings with ``pixel_values`` and ``labels``.
        model: picks the network out of the Trainer's model; None: the model itself.
        adapter: how the network is called, where it is not as above.
        **options: every other argument of the monitor, such as ``method``, ``seed``, ``config`` and ``tags``, which
            tell runs apart.

    Raises:
        MissingPackageError: on import, where transformers is not installed.
    """

    def __init__(
        self,
        data: Any,
        *,
        model: Callable[[Any], nn.Module] | None = None,
        adapter: Adapter | None = None,
        folder: str | Path | None = None,
        **options: Any,
    ) -> None:
        self._fits = Fits(data, folder, options)
        self._samples = [0]
        self._model = model
        self._adapter = adapter if adapter is not None else Adapter(keyword="pixel_values", output="logits")

    @property
    def monitor(self) -> Monitor | None:
        """That of the present training, or of the last one."""
        return self._fits.monitor

    @property
    def records(self) -> pd.DataFrame:
        """What was measured so far; empty before training and on processes other than the first."""
        return self.monitor.records if self.monitor is not None else pd.DataFrame(columns=list(FIELDS))

    def batch(self, index: Any, logits: Tensor, y: Any, *, inputs: str | None = None) -> None:
        """As :meth:`overfit_lab.Monitor.batch`; call it in ``compute_loss``, which alone sees logits.

        Kept is what the first process sees.
        """
        if self.monitor is not None:
            self.monitor.batch(index, logits, y, inputs=inputs)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The weights now are theta_0, unless training is resumed from a checkpoint or the same network trained on."""
        if not state.is_world_process_zero:
            return
        saved = self._saved(args, state) if state.global_step > 0 else None
        model = kwargs["model"]
        batch_size = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
        self._samples = _samples_of_steps(args, kwargs.get("train_dataloader"))
        self._fits.begin(
            self._model(model) if self._model is not None else model,
            n_epochs=math.ceil(args.num_train_epochs) if args.max_steps <= 0 else None,
            resumes=saved is not None,
            adapter=self._adapter,
            batch_size=batch_size,
        )
        if saved is not None:
            self._fits.load_state_dict(saved, math.floor(state.epoch + 1e-6))

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Gradients of all accumulated batches, clipped where the Trainer clips."""
        clipped = bool(args.max_grad_norm and args.max_grad_norm > 0)
        if self.monitor is not None and (clipped or not args.fp16):
            n = self._samples[state.global_step % len(self._samples)]
            scaler = getattr(kwargs.get("optimizer"), "scaler", None)
            self.monitor.gradients_ready(n=n, clipped=clipped, step=state.global_step, scaler=scaler)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Evaluate, probe and record."""
        if self.monitor is not None:
            is_last = bool(state.global_step >= state.max_steps or control.should_training_stop)
            self.monitor.epoch_ended(math.ceil(state.epoch - 1e-6) + self._fits.before, is_last=is_last)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The state goes into the checkpoint that was just written."""
        folder = _checkpoint(args, state)
        if self.monitor is not None and folder.is_dir():
            state = self._fits.state_dict()
            dynamics = state.pop("dynamics", {})
            tensors = {f"{DYNAMICS}{name}": t for name, t in dynamics.items() if name != "epoch"}
            if dynamics:
                state["dynamics"] = dynamics["epoch"]
            write_tensors(folder / STATE_FILE, {**state.pop("reference"), **tensors}, state)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The run folder, where there is one, is complete."""
        if self.monitor is not None:
            self.monitor.close()

    def _saved(self, args: Any, state: Any) -> dict[str, Any]:
        path = _checkpoint(args, state) / STATE_FILE
        if not path.is_file():
            raise ProbeError(
                f"training resumes at step {state.global_step}, and theta_0 is not there ({path}); "
                "it is written beside checkpoints of trainings with this callback"
            )
        return _read(path)


def _samples_of_steps(args: Any, loader: Any) -> list[int]:
    """Samples of each step of an epoch, one 0 where that is not known, as of an iterable data set."""
    try:
        n, n_batches = len(loader.dataset), len(loader)
    except (AttributeError, TypeError):
        return [0]
    size = args.train_batch_size * args.world_size
    if args.world_size > 1 and n % size:  # samplers fill up the last batches, each in its way
        return [0]
    batches = [min(size, n - i * size) for i in range(n_batches)]
    parts = args.gradient_accumulation_steps
    return [sum(batches[i : i + parts]) for i in range(0, n_batches, parts)] or [0]


def _checkpoint(args: Any, state: Any) -> Path:
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"


def _read(path: Path) -> dict[str, Any]:
    try:
        rest, tensors = read_tensors(path, "monitor's state")
    except RunFolderError as error:
        raise ProbeError(str(error)) from error
    gathered = {name.removeprefix(DYNAMICS): tensors.pop(name) for name in list(tensors) if name.startswith(DYNAMICS)}
    if gathered:
        rest["dynamics"] = {**gathered, "epoch": rest["dynamics"]}
    return {**rest, "reference": tensors}


__all__ = ["OverfitCallback", "TrainerCallback"]
