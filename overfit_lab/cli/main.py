"""The command `overfit-lab`: its commands, and how errors become one line and an exit status.

Nothing here imports torch; each command imports what it needs when it runs.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated, Any

import typer

from overfit_lab import __version__
from overfit_lab.cli import data, sweep
from overfit_lab.cli.check import check
from overfit_lab.cli.config import config
from overfit_lab.cli.cost import cost
from overfit_lab.cli.demo import demo
from overfit_lab.cli.diagnose import diagnose
from overfit_lab.cli.evaluate import evaluate
from overfit_lab.cli.figure import figure
from overfit_lab.cli.import_ import import_
from overfit_lab.cli.listing import list_
from overfit_lab.cli.probe import probe
from overfit_lab.cli.report import report
from overfit_lab.cli.table import compare, table
from overfit_lab.cli.train import train
from overfit_lab.cli.watch import watch
from overfit_lab.config.permission import Permission, granted
from overfit_lab.errors import FailedError, Interrupted, OverfitLabError, of_file
from overfit_lab.files.terminal import say, to_stderr
from overfit_lab.processes.signals import heard_in_words, stopping_a_command

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130
NO_PATH = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR)
"""Errors of a path that cannot be that of a file, whatever is mended."""
UsageError: Any = typer.BadParameter.__mro__[2]
"""What typer raises for a wrong command line. Newer releases of typer carry their own copy of click, older ones
import it; the common ancestor of either one's errors is reached from the one name that typer exports."""

app = typer.Typer(
    name="overfit-lab",
    help="See when, why and how adversarially trained networks overfit robustly, and what cures it.",
    no_args_is_help=False,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        say(f"overfit-lab {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """See when, why and how adversarially trained networks overfit robustly, and what cures it."""


COMMANDS = (
    *(demo, train, watch, import_, probe, evaluate, check),
    *(figure, compare, table, diagnose, report, cost, list_, config),
)
for command in COMMANDS:  # in the order of --help
    app.command(command.__name__.rstrip("_"))(command)
app.add_typer(sweep.app, name="sweep")
app.add_typer(data.app, name="data")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 bad input (one line on stderr), 130 interrupted."""
    _open_closed_streams()
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # nor do Python processes begun from here look beside a run for code
    sys.exit(run(arguments))


def _open_closed_streams() -> None:
    """Have stdin, stdout and stderr lead nowhere where they are closed, lest a run's own files get their numbers."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status.

    Code may be imported by the names that are typed in it, from modules in the current folder too; see
    :mod:`overfit_lab.config.permission`.
    """
    typed = sys.argv[1:] if arguments is None else arguments
    typed = [text for text in typed if not os.path.lexists(text)]  # a file's name that a shell wrote for * is not typed
    try:
        folder = os.getcwd()
    except OSError:
        return _complain("the current folder is not there any more; change to another one")
    with stopping_a_command(), granted(Permission(frozenset(typed), folder=folder)):
        return _run(arguments)


def _run(arguments: list[str] | None) -> int:
    try:
        status: Any = app(arguments, standalone_mode=False)
    except OverfitLabError as error:
        return _complain(str(error))
    except FailedError as error:
        return _complain(str(error), FAILED)
    except typer.Exit as error:
        return int(error.exit_code)
    except Interrupted as error:
        return _complain(f"interrupted{heard_in_words()}; {error}", INTERRUPTED)
    except (KeyboardInterrupt, typer.Abort):
        return _complain(f"interrupted{heard_in_words()}", INTERRUPTED)
    except UsageError as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "overfit-lab"
        return _complain(f"{error.format_message()} (see `{command} --help`)")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        if os.environ.get("OVERFIT_LAB_DEBUG"):
            raise
        if error.errno in NO_PATH:
            return _complain(of_file(error))
        resume = " with --resume" if (arguments or sys.argv[1:])[:1] == ["train"] else ""
        return _complain(f"{of_file(error)}; when that is mended, repeat the command{resume}", FAILED)
    except Exception as error:
        if os.environ.get("OVERFIT_LAB_DEBUG"):
            raise
        text = " ".join(str(error).split()) or type(error).__name__
        return _complain(f"unexpected {type(error).__name__}: {text} (OVERFIT_LAB_DEBUG=1 shows where)", FAILED)
    if status == INTERRUPTED:  # typer makes this of a KeyboardInterrupt, without a word
        return _complain(f"interrupted{heard_in_words()}", INTERRUPTED)
    return status if isinstance(status, int) else 0


def _complain(text: str, status: int = BAD_INPUT) -> int:
    """One line on stderr."""
    to_stderr(" ".join(text.split()))
    return status
