"""The source model of a transfer attack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from overfit_lab.config import RunConfig, load_config
from overfit_lab.config.trust import check_trusted
from overfit_lab.errors import ConfigError, RunFolderError
from overfit_lab.evaluation.attackers import Source
from overfit_lab.files.escape import for_file
from overfit_lab.models.factory import build_model
from overfit_lab.models.weights import load_into, load_weights
from overfit_lab.records import layout
from overfit_lab.records.naming import method_title, model_title
from overfit_lab.training.subjects import OnNote, fingerprint
from overfit_lab.types import Dataset


def open_source(
    name: str,
    config: RunConfig,
    data: Dataset,
    device: torch.device,
    *,
    trust: bool = False,
    on_note: OnNote | None = None,
) -> Source:
    """A run's checkpoint (``RUN``, its final one, or ``RUN@CHECKPOINT``), or a weights file of the target's model.

    Its description goes into the outcome with a hash of its weights, which tells outcomes on other weights apart.
    Configuration and data are the target's, whose model that of a weights file is; ``trust`` imports the code that a
    run folder's configuration names; ``on_note`` gets a line on how a weights file was read, where that is not plain.

    Raises:
        ConfigError: there is no such run or file, or its model is of other images or classes.
        RunFolderError: no such checkpoint.
        WeightsError: the weights are unsafe, damaged or do not fit.
    """
    path, _, checkpoint = name.partition("@")
    place = Path(path).expanduser()
    if place.is_file():
        files, title = [place], place.stem
        built = config
        about: dict[str, Any] = {"file": place.name, "model": model_title(config)}
    elif place.is_dir():
        other = load_config(layout.config_path(layout.check_run(place)))
        check_trusted(other, str(place), trust=trust)
        built = other
        files = layout.checkpoint_paths(place, checkpoint or "final")
        run = place.resolve().name
        title = run + (f"-{checkpoint}" if checkpoint else "")
        about = {
            "run": run,
            "checkpoint": checkpoint or "final",
            "model": model_title(other),
            "method": method_title(other),
            "seed": other.seed,
        }
        if len(files) != 1:
            raise RunFolderError(f"{name}: a source is one checkpoint, got {len(files)}")
    else:
        raise ConfigError(f"source {name!r}: no such run folder or weights file")
    model = build_model(built.model, data, device, seed=config.seed)
    taken = load_into(model, load_weights(files[0]))
    if taken and on_note is not None:
        on_note(f"{files[0]}: {taken}")
    about["weights"] = fingerprint(model)
    return Source(for_file(title), model.eval().requires_grad_(False), about)
