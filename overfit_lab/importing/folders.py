"""Run folders of imported runs: checked first, then each written whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overfit_lab.config import RunConfig, parse_config, to_yaml
from overfit_lab.errors import RunFolderError
from overfit_lab.files.writing import making_folder, write_bytes, write_json
from overfit_lab.records import layout
from overfit_lab.records.environment import now, versions
from overfit_lab.records.records import Record
from overfit_lab.records.status import ENDED

KEY = "log"
"""In run.json: what the log was and how it was read."""


@dataclass(frozen=True)
class ImportedRun:
    """A run of a log, ready to be written.

    Args:
        name: as the log has it.
        folder: name of its folder.
        records: in order of epochs.
        sizes: samples of each split, where they are known.
        seed: where it is known.
        experiment: what seeds of it have in common, by the name.
        log: where it comes from and how it was read, for run.json.
    """

    name: str
    folder: str
    records: Sequence[Record]
    sizes: Mapping[str, int]
    seed: int | None
    experiment: str
    log: Mapping[str, Any]

    @property
    def config(self) -> RunConfig:
        """What is known of the run: its name, and the seed where a pattern says it. All else is not known."""
        known = ("monitored", *(("seed",) if self.seed is not None else ()))
        monitored = {"known": known, "config": {"experiment": self.experiment}, "data": dict(self.sizes)}
        return parse_config({"name": self.folder, "seed": self.seed or 0, "monitored": monitored})

    @property
    def text(self) -> bytes:
        """The lines of records.jsonl."""
        return "".join(record.to_json() + "\n" for record in self.records).encode()

    @property
    def digest(self) -> str:
        """Equal for the same import."""
        return hashlib.sha256(to_yaml(self.config).encode() + self.text).hexdigest()

    @property
    def info(self) -> dict[str, Any]:
        """What run.json says; null is what is not known."""
        config = self.config
        robust = any(record.field == "acc_adv" for record in self.records)
        return {
            "name": self.name,
            "status": ENDED,
            "seed": self.seed,
            "monitored": {
                "method": None,
                "config": config.monitored.config,
                "tags": [],
                "unknown": [key for key in RunConfig.model_fields if not config.knows(key)],
            },
            "robust": True if robust else None,
            "data": {"name": None, "sizes": dict(self.sizes)},
            "epoch": max(record.epoch for record in self.records),
            "versions": {name: text for name, text in versions().items() if name == "overfit-lab"},
            KEY: {**self.log, "imported": now(), "digest": self.digest},
        }


def vacant(run: ImportedRun, out: Path, *, overwrite: bool) -> bool:
    """Whether a run is still to be written below ``out``; not where the same import is there.

    Raises:
        RunFolderError: something else is there.
    """
    folder = out / run.folder
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return True
    if not layout.is_run(folder) or KEY not in layout.read_info(folder):
        raise RunFolderError(f"{folder}: is not empty and no imported log; choose another --out")
    if layout.read_info(folder)[KEY].get("digest") == run.digest:
        return False
    if not overwrite:
        raise RunFolderError(f"{folder}: holds another import; give --overwrite, or choose another --out")
    return True


def write(run: ImportedRun, out: Path) -> Path:
    """Write a run's folder, in place of an earlier import where there is one; it appears whole.

    Raises:
        RunFolderError: it cannot be written.
    """
    folder = out / run.folder
    try:
        with making_folder(folder, instead=True) as beginning:
            write_bytes(layout.config_path(beginning), to_yaml(run.config).encode())
            write_json(layout.info_path(beginning), run.info)
            write_bytes(layout.records_path(beginning), run.text)
    except OSError as error:
        raise RunFolderError(f"{folder}: cannot be written ({error.strerror or error})") from error
    return folder
