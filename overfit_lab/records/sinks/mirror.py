"""Handing a run's records to sinks: every record once, in order, and never at the cost of the run."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from overfit_lab.config.catalog import SINKS
from overfit_lab.errors import ConfigError
from overfit_lab.files.terminal import to_stderr
from overfit_lab.files.writing import write_json
from overfit_lab.records import layout
from overfit_lab.records.records import Record
from overfit_lab.records.sinks.base import Beginning, Sink
from overfit_lab.seeds import get_streams, set_streams

OnNote = Callable[[str], None]


def make_sinks(chosen: Sequence[str | Sink]) -> dict[str, Sink]:
    """The sinks of some names (registered, or ``package.module:Class``) or objects, checked, by name.

    Raises:
        ConfigError: an unknown name, a class that is no sink, or one sink twice.
        OverfitLabError: a sink cannot work here, such as for want of its package.
    """
    sinks: dict[str, Sink] = {}
    for choice in chosen:
        sink = _made(choice) if isinstance(choice, str) else choice
        name = SINKS.canonical(choice) if isinstance(choice, str) else _name_of(choice)
        if name in sinks:
            raise ConfigError(f"sink {name}: given twice")
        sink.check()
        sinks[name] = sink
    return sinks


def _made(name: str) -> Sink:
    cls = SINKS[name]
    if not (isinstance(cls, type) and issubclass(cls, Sink)):
        raise ConfigError(f"sink {name!r}: expected a class derived from overfit_lab.records.sinks.base.Sink")
    return cls()


def _name_of(sink: Sink) -> str:
    registered = {cls: name for name, cls in SINKS.items()}
    return registered.get(type(sink), f"{type(sink).__module__}:{type(sink).__qualname__}")


def run_id(name: str, *parts: object) -> str:
    """Sixteen hexadecimal digits for a run, from its name and what else makes it this one, such as when it started."""
    return hashlib.sha256(repr((name, *map(str, parts))).encode()).hexdigest()[:16]


class Mirror:
    """Gives records to sinks at the end of each epoch, after the epoch's checkpoint.

    How far each sink is stands in ``sinks.json`` in the run folder. So after a resume each gets the epochs that it has
    not had, those from before it was asked for included, and no other. Should the process be killed between a sink's
    last record and that file, the epoch is given again; ``after`` tells the sink to drop what it has of it.

    A sink that raises is left alone from then on, with one note, until the run is resumed. The global random streams of
    Python, numpy and torch are put back after each call.

    Args:
        sinks: by name.
        run: the run; ``after`` plays no part.
        on_note: told in a line of a sink that failed; default: a line on stderr.
    """

    def __init__(self, sinks: Mapping[str, Sink], run: Beginning, on_note: OnNote | None = None) -> None:
        self.run = run
        self.begun = False
        self.position = self._read_position()
        self._sinks = dict(sinks)
        self._on_note = on_note if on_note is not None else to_stderr
        self._waiting: list[Record] = []
        self._said_unwritable = False

    def begin(self, records: Sequence[Record], epoch: int) -> None:
        """Before the first epoch, of this process: give each sink what it lacks.

        Args:
            records: those of a run that is gone on with.
            epoch: completed epochs.
        """
        self.begun = True
        for name, sink in list(self._sinks.items()):
            after = min(self.position.get(name, 0), epoch)
            with self._contained(name):
                sink.begin(replace(self.run, after=after, config=copy.deepcopy(dict(self.run.config))))
                self._give(name, sink, [record for record in records if record.epoch > after or after == 0])
                self.position[name] = epoch
        self._write_position()

    def take(self, records: Sequence[Record]) -> None:
        """Records that were written; they wait for the end of their epoch."""
        self._waiting += records

    def epoch_ended(self, epoch: int) -> None:
        """Give what was taken. Call it when the run would go on from here after a kill."""
        waiting, self._waiting = self._waiting, []
        for name, sink in list(self._sinks.items()):
            with self._contained(name):
                self._give(name, sink, waiting)
                self.position[name] = epoch
        self._write_position()

    def end(self, status: str) -> None:
        """The run is over."""
        for name, sink in list(self._sinks.items()):
            if self.begun:
                with self._contained(name):
                    sink.end(status)

    def state_dict(self) -> dict[str, Any]:
        """How far each sink is, for a run without a folder to be gone on with."""
        return {"id": self.run.id, "position": dict(self.position)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where :meth:`state_dict` was; a run folder knows better."""
        if self.run.folder is None:
            self.run = replace(self.run, id=str(state["id"]))
            self.position = {str(name): int(epoch) for name, epoch in state["position"].items()}

    def _give(self, name: str, sink: Sink, records: Sequence[Record]) -> None:
        for epoch, group in itertools.groupby(records, key=lambda record: record.epoch):
            sink.records(tuple(group))
            self.position[name] = epoch

    @contextmanager
    def _contained(self, name: str) -> Iterator[None]:
        streams = get_streams()
        try:
            yield
        except (Exception, SystemExit) as error:
            del self._sinks[name]
            reason = " ".join(str(error).split()) or type(error).__name__
            self._on_note(f"sink {name} failed and gets no more records, the run goes on: {reason}")
        finally:
            set_streams(streams)

    def _read_position(self) -> dict[str, int]:
        """Nothing where the file is missing or damaged: then everything is given again."""
        if self.run.folder is None:
            return {}
        try:
            content: Any = json.loads(layout.sinks_path(self.run.folder).read_text(encoding="utf-8"))
            return {str(name): int(epoch) for name, epoch in content.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def _write_position(self) -> None:
        if self.run.folder is None:
            return
        try:
            write_json(layout.sinks_path(self.run.folder), self.position)
        except OSError as error:
            if not self._said_unwritable:
                self._on_note(f"{self.run.folder}: how far its sinks are cannot be written ({error.strerror})")
            self._said_unwritable = True


def open_mirror(
    chosen: Mapping[str, Sink], folder: Path, config: Mapping[str, Any], on_note: OnNote | None = None
) -> Mirror | None:
    """The mirror of a run folder that exists; None without sinks."""
    if not chosen:
        return None
    info, name = layout.read_info(folder), folder.resolve().name
    identity = run_id(name, info.get("started"), info.get("seed"))
    return Mirror(chosen, Beginning(name, identity, folder, config, 0), on_note)
