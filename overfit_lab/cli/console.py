"""Rich's tables as text, as wide as the terminal, or as they need where there is none."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType


def as_text(content: RenderableType) -> str:
    """What rich draws, with colours on a terminal only, without trailing spaces."""
    terminal = Console()
    console = Console(
        file=io.StringIO(),
        force_terminal=terminal.is_terminal,
        width=terminal.width if terminal.is_terminal else 160,
    )
    console.print(content)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().rstrip().split("\n"))
