"""What was worked out of a run, remembered as long as the run is."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from overfit_lab.records.reader import Run

P_ = ParamSpec("P_")
R_ = TypeVar("R_")


def once_per_run(function: Callable[Concatenate[Run, P_], R_]) -> Callable[Concatenate[Run, P_], R_]:
    """The function, asked once for each run object and further arguments; a run that is let go takes its answers along.

    The answers must not refer to the run.
    """
    answers: WeakKeyDictionary[Run, dict[Any, R_]] = WeakKeyDictionary()

    @wraps(function)
    def remembered(run: Run, *args: P_.args, **kwargs: P_.kwargs) -> R_:
        of_run = answers.setdefault(run, {})
        key = (args, tuple(sorted(kwargs.items())))
        if key not in of_run:
            of_run[key] = function(run, *args, **kwargs)
        return of_run[key]

    asked: Any = remembered
    return asked  # type: ignore[no-any-return]
