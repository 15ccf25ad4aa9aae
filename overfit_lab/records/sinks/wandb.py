"""Weights & Biases."""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence

from overfit_lab.errors import ConfigError
from overfit_lab.records.records import Record
from overfit_lab.records.sinks.base import Beginning, ServiceSink, scalars

PROJECT = "overfit-lab"
UNCONNECTED = ("offline", "disabled", "dryrun")


class WandbSink(ServiceSink):
    """Weights & Biases: a run of the same name whose history has the epoch as step; its files lie in RUN/wandb.

    The variables of wandb hold: WANDB_MODE=offline sends nothing, WANDB_PROJECT and WANDB_ENTITY say where to.

    Args:
        project: in place of WANDB_PROJECT, or of ``overfit-lab`` where that is not set.
        **options: further arguments of ``wandb.init``.
    """

    package = "wandb"

    def check(self) -> None:
        """The package is there, and an account where one is needed, so that nothing is asked in the middle."""
        super().check()
        import wandb

        mode = self._options.get("mode") or wandb.setup().settings.mode
        if mode not in UNCONNECTED and not _logged_in():
            raise ConfigError("wandb: not logged in; run `wandb login`, or set WANDB_MODE=offline")

    def begin(self, run: Beginning) -> None:
        """Begin the run there, or go on with it."""
        import wandb

        options = {
            "project": self._project or os.environ.get("WANDB_PROJECT") or PROJECT,
            "id": run.id,
            "name": run.name,
            "dir": run.folder,
            "config": dict(run.config),
            "allow_val_change": True,
            "resume": "allow",
            "reinit": "create_new",
            "settings": wandb.Settings(console="off", silent=True, disable_code=True, disable_git=True),
        }
        if wandb.setup().settings.mode in UNCONNECTED:
            del options["resume"]  # what an unconnected run begins is joined to the former part when both are synced
        self._run = wandb.init(**{**options, **self._options})
        self._run.define_metric("epoch")
        self._run.define_metric("*", step_metric="epoch")

    def records(self, records: Sequence[Record]) -> None:
        """One row of the history, at step = epoch."""
        epoch = records[0].epoch
        self._run.log({"epoch": epoch, **scalars(records)}, step=epoch)

    def end(self, status: str) -> None:
        """Finish the run there; one that did not complete is marked so."""
        self._run.summary["status"] = status
        self._run.finish(exit_code=0 if status == "completed" else 1)


def _logged_in() -> bool:
    """Whether wandb knows an account, without asking for one."""
    import wandb

    if "prompt" in inspect.signature(wandb.login).parameters:
        return bool(wandb.login(prompt=False))
    return bool(wandb.api.api_key)


REGISTER = {"wandb": WandbSink}
