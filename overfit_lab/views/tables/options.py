"""Options of a table beside its kind."""

from __future__ import annotations

from dataclasses import dataclass

from overfit_lab.errors import ConfigError, unknown_name
from overfit_lab.probes.metrics.phases import THRESHOLD
from overfit_lab.records.best import SPLITS
from overfit_lab.views.diagnosis.finding import check_threshold


@dataclass(frozen=True)
class TableOptions:
    """Options of every kind of table.

    Args:
        best_by: split that chooses the best checkpoint: ``val``, ``test``, or ``auto`` (val where the run has one).
        attacks: attacks of the columns; empty: the kind's own choice.
        published: whether the paper's figures are set beside ours.
        least_drop: drop of accuracy in points that counts as overfitting.

    Raises:
        ConfigError: another split, or no such drop.
    """

    best_by: str = "auto"
    attacks: tuple[str, ...] = ()
    published: bool = False
    least_drop: float = 100 * THRESHOLD

    def __post_init__(self) -> None:
        if self.best_by not in SPLITS:
            raise unknown_name("split to choose the best checkpoint by", self.best_by, SPLITS)
        check_threshold(self.least_drop / 100)

    def need_default(self, kind: str, *names: str) -> None:
        """Refuse options that have no meaning for a kind of table.

        Raises:
            ConfigError: one of the options named is not at its default.
        """
        for name in names:
            value = getattr(self, name)
            if value != getattr(TableOptions, name):
                option, why = {
                    "best_by": (f"--best-by {value}", "it shows final checkpoints alone"),
                    "attacks": (f"--attack {','.join(self.attacks)}", "its columns are not by attack"),
                    "published": ("--published", "the paper has no such table"),
                    "least_drop": (f"--least-drop {self.least_drop:g}", "it asks whether nothing overfits"),
                }[name]
                raise ConfigError(f"{option}: has no meaning for table {kind!r}, {why}; leave it out")
