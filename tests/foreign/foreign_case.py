"""One foreign thing: how it is made, how it is used, and what becomes of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """A row of the table.

    Args:
        what: the thing, in a few words.
        tool: what makes it.
        run: makes it in a folder and uses it, with the option where one is given ("": none), and asserts that what
            comes out is what the tool itself says.
        option: what has to be said, as it is typed; "" where nothing has to be.
        refused: the line at the first try, with DIR for the folder; one that ends in ``...`` goes on with names of the
            tool's own. "" where it is not refused.
        otherwise: what the first try gives where it is neither refused nor right.
        needs: packages without which it is left out, such as ``datasets`` or ``transformers>=5``.
        held_by: in the place of ``run``, the neighbouring test that does the same.
    """

    what: str
    tool: str
    run: Callable[[Path, str], None] | None = None
    option: str = ""
    refused: str = ""
    otherwise: str = ""
    needs: tuple[str, ...] = ()
    held_by: str = ""

    @property
    def outcome(self) -> str:
        """The last column of its row."""
        if not self.option:
            return f"refused: {self.refused}" if self.refused else "at first try"
        return f"by `{self.option}`; without it: {self.refused or self.otherwise}"
