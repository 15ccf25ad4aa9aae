r"""Names from folders, files and records made safe for where they go: a terminal, a page, a table, a file's name.

A name is anybody's text. What a place would read as a command, as markup or as a formula is written so that it is
seen instead; what the place shows as it is stays as it is. Every function may be applied to its own result's parts, and
:func:`for_terminal` to its own result.

Example:
    >>> for_terminal("run\x1b[2J\u202e"), for_file("../../run"), for_csv("=1+1")
    ('run\\x1b[2J\\u202e', 'run', "'=1+1")
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

import markupsafe
from markupsafe import Markup

LONGEST_NAME = 100
"""Characters of the name of a file or folder that is made of a name; file systems take 255 bytes."""
LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "%": r"\%",
    "_": r"\_",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    "±": r"$\pm$",
    "–": "--",
}
MARKDOWN = re.compile(r"[\\`*_\[\]<>|~$&]|(?<![\w/])[#@](?=\w)|(?<=\w):(?=//)|(?<=www)\.|^[#+=-](?=[\s#+=-]|$)")
"""What Markdown would read as markup, an entity, a formula, a mention or an address, within a line."""
CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
"""A command between backticks in a sentence of ours."""
FORMULA = re.compile(r"\s*[=+\-@]|[\t\r]")
"""How a text begins that a spreadsheet takes for a formula."""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def for_terminal(text: str) -> str:
    r"""Text in one line that moves, colours and hides nothing: what is no printable character is shown by its number.

    Those are control characters, line breaks, characters that change the direction of writing or have no width, blanks
    other than the usual one, and bytes of a file's name that are no text.

    Example:
        >>> for_terminal("a\nb\x9b31m\u2028\udcff é")
        'a\\nb\\x9b31m\\u2028\\udcff é'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def as_unicode(text: str) -> str:
    r"""The name of a file as text that can be encoded: bytes of it that are not UTF-8 are shown by their number.

    Example:
        >>> as_unicode("x\udcff")
        'x\\udcff'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def for_terminal_lines(text: str) -> str:
    """As :func:`for_terminal`, for a text of several lines."""
    return text if text.isprintable() else "\n".join(map(for_terminal, text.split("\n")))


def for_html(text: str) -> Markup:
    """Text of one or more lines as HTML, in an element or in a quoted attribute."""
    return markupsafe.escape(for_terminal_lines(text))


def for_latex(text: str) -> str:
    r"""Text as LaTeX that typesets it: nothing in it is a command, a comment, or an argument of what stands before.

    Example:
        >>> print(for_latex(r"50% of a_b \input{x}"), for_latex("[2] --out"))
        50\% of a\_b \textbackslash{}input\{x\} {}[2] -{}-out
    """
    parts = (part.translate(_LATEX) for part in for_terminal(text).split("--"))
    escaped = "-{}-".join(parts)
    return "{}" + escaped if escaped.startswith(("[", "*")) else escaped


def for_markdown(text: str) -> str:
    r"""Text as Markdown, within a line or in a cell of a table.

    Example:
        >>> print(for_markdown("l_inf | <b> `x` https://a.b"))
        l\_inf \| \<b\> \`x\` https\://a.b
    """
    return MARKDOWN.sub(r"\\\g<0>", for_terminal(text))


def as_markdown_code(text: str) -> str:
    """Text as code in Markdown, whatever backticks are in it, so that a command can be copied; for no table's cell."""
    text = for_terminal(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if "`" in text else f"`{text}`"


def with_code(text: str, escape: Callable[[str], str], code: Callable[[str], str]) -> str:
    """A sentence of ours, which has commands between single backticks: its words escaped one way, these another."""
    parts = CODE.split(text)
    return "".join(code(part) if i % 2 else escape(part) for i, part in enumerate(parts))


def latex_sentence(text: str) -> str:
    r"""A sentence as LaTeX, with what is in backticks typewritten.

    Example:
        >>> print(latex_sentence("50% of a_b, `--out`"))
        50\% of a\_b, \texttt{-{}-out}
    """
    return with_code(text, for_latex, lambda code: rf"\texttt{{{for_latex(code)}}}")


def markdown_sentence(text: str) -> str:
    r"""A sentence as Markdown, with what is in backticks as code.

    Example:
        >>> print(markdown_sentence("l_inf | `a_b`"))
        l\_inf \| `a_b`
    """
    return with_code(text, for_markdown, lambda code: f"`{for_terminal(code)}`".replace("|", "\\|"))


def for_csv(value: Any) -> Any:
    """The value of a cell: numbers as they are, text so that no spreadsheet takes it for a formula.

    Text that begins like a formula stands behind an apostrophe; text that is a number is one. Control characters are
    shown as on a terminal, so that every row is a line.

    Example:
        >>> for_csv("=1+1"), for_csv("-0.3"), for_csv(-0.3), for_csv("a,b")
        ("'=1+1", '-0.3', -0.3, 'a,b')
    """
    if not isinstance(value, str):
        return value
    guard = "'" if FORMULA.match(value) and not NUMBER.fullmatch(value) else ""
    return guard + for_terminal(value)


def as_json(content: Any, indent: int | None = 2) -> str:
    """JSON that holds every text to the character and shows a terminal no character but printable ones.

    Raises:
        ValueError: a number that is not finite.
    """
    text = json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def for_file(text: str, longest: int = LONGEST_NAME, otherwise: str = "unnamed") -> str:
    """The name of a file or folder, made of a name: letters, digits, "_", "." and "-", the first no "." and no "-".

    No path can be made of it, no hidden file, and no option of a command.

    Args:
        text: any name.
        longest: characters at most; what is longer is cut, and gets digits that tell it from others.
        otherwise: where nothing is left.

    Example:
        >>> for_file("../a b/.c"), for_file("..")
        ('a-b-.c', 'unnamed')
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.") or otherwise
    return plain if len(plain) <= longest else f"{plain[:longest]}-{short_hash(text)}"


def short_hash(text: str) -> str:
    """Six digits that tell a text from others."""
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()[:6]


_LATEX = str.maketrans(LATEX)
