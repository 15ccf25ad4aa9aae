"""What every progress display has in common: bars that are shown inside a ``with`` block, on a terminal only."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.progress import Progress


class Bars:
    """Shows its bars inside a ``with`` block, where it has any."""

    _bar: Progress | None = None

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
