"""Fig. B.5 of SGLR: overfitting under noise in place of an attack, and under attacks of other strength."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from overfit_lab.errors import RunFolderError
from overfit_lab.records.naming import pixels
from overfit_lab.records.reader import Run
from overfit_lab.views.figures.caption import caption
from overfit_lab.views.figures.draw import draw_curve, empty_note, mark_best_and_last
from overfit_lab.views.figures.experiments import need_alike, one_a_seed
from overfit_lab.views.figures.series import by_labels, check_some, decays, last_epoch, need_curve, title_of
from overfit_lab.views.figures.style import LINES, PAGE, Look, epoch_axis, mark_stages, new_figure, percent_axis, style

NOISES = {"gaussian-noise": "Gaussian noise", "random-pixels": "random pixels"}
ATTACK_LOOK, *_ = LINES
NOISE_LOOKS = dict(zip(NOISES, LINES[1:], strict=False))
DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = ("-", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
CORRUPTION = "evaluation.corruption"
PERTURBATION = ("attack.name", "attack.eps", "attack.step_size", "evaluation.step_size", CORRUPTION)
"""Settings in which the runs of the figure may differ."""
TITLES = ("(a) noise or attack in training", "(b) attack in training, over eps")
KINDS = ("perturbed", "robust")
NOTES = ("no run trained on Gaussian noise\nor random pixels", "no run trained on an attack")
SPLITS = ("train", "test")
MEASURED = "perturbed: under the noise or attack of training; train against the given labels"
MARKS = "diamond: highest mean on test, dot: last epoch; dotted lines: learning-rate decays, shaded: after the first"


class Line(NamedTuple):
    """Seeds of one experiment, and which accuracy is drawn of them."""

    name: str
    runs: list[Run]
    field: str
    inputs: str
    look: Look


def draw(runs: Sequence[Run]) -> Figure:
    """Two rows (train, test) by two columns: (a) by what images are perturbed with in training, (b) by eps.

    (a) has a line for each noise and one for the attack of the same eps, each under what it was trained with; where
    runs were evaluated under another noise than their own, the legend says which. (b) has robust accuracy for each eps
    of the runs that are trained on an attack. Of several label modes the first of hard, smooth, sglr is drawn. On the
    test split the highest mean and the last are marked.

    Raises:
        RunFolderError: no run is trained on perturbed images, or what is drawn was not measured, or the runs of a line
            differ in more than the seed, or those of the figure in more than the perturbation.
    """
    check_some(runs, "figb5")
    name, runs = _trained_on_perturbed(runs)
    columns = (_over_noises(runs), _over_eps(runs))
    runs = list({run.folder: run for lines in columns[::-1] for line in lines for run in line.runs}.values())
    with style():
        figure = new_figure(PAGE, 4.9, caption(runs, split=f"{title_of(name)}; {MEASURED}", extra=MARKS))
        grid = figure.subplots(2, 2, sharex="col")
        for column, lines in enumerate(columns):
            if lines:
                _column(grid[:, column], lines, column, last_epoch(runs))
            else:
                grid[0][column].set_title(TITLES[column], loc="left")
                empty_note(grid[0][column], NOTES[column])
                grid[1][column].set_axis_off()
        for row in grid:
            _share_limits([axes for axes, lines in zip(row, columns, strict=True) if lines])
    return figure


def _trained_on_perturbed(runs: Sequence[Run]) -> tuple[str, list[Run]]:
    """The label mode that is drawn, and its runs that see perturbed images in training."""
    perturbed = [run for run in runs if run.config.objective.name != "standard"]
    if not perturbed:
        raise RunFolderError(
            f"figb5: no run trained on perturbed images among {', '.join(run.name for run in runs[:3])}; "
            "expected adversarial training with attack.name=pgd, gaussian-noise or random-pixels"
        )
    name, members = next(iter(by_labels(perturbed).items()))
    complaint = f"the runs with {title_of(name)} differ in more than the seed and the perturbation"
    need_alike(members, "figb5", complaint, PERTURBATION)
    return name, members


def _over_noises(runs: Sequence[Run]) -> list[Line]:
    """The lines of (a): noises, and the attack of the same eps first; none without noises."""
    noisy = [run for run in runs if run.config.attack.name in NOISES]
    if not noisy:
        return []
    need_alike(noisy, "figb5", "the runs trained on noise differ in more than the noise", ("attack.name", CORRUPTION))
    attacked = [run for run in runs if run not in noisy and run.config.attack.eps == noisy[0].config.attack.eps]
    lines = [_attack_line(attacked, _attack(attacked[0]), ATTACK_LOOK)] if attacked else []
    for name, look in NOISE_LOOKS.items():
        members = [run for run in noisy if run.config.attack.name == name]
        if members:
            lines.append(_noise_line(name, members, look))
    return lines


def _noise_line(name: str, runs: Sequence[Run], look: Look) -> Line:
    """Runs evaluated under their own training noise if there are some, else under any other noise."""
    matching = [run for run in runs if run.config.evaluation.corruption == name]
    runs = matching or [run for run in runs if run.config.evaluation.corruption is not None] or list(runs)
    need_alike(runs, "figb5", f"the runs trained on {NOISES[name]} differ in more than the seed")
    under = runs[0].config.evaluation.corruption
    if under is None:
        raise RunFolderError(
            f"figb5: no accuracy under noise in {runs[0].name}; train with --set evaluation.corruption={name}"
        )
    title = NOISES[name] + ("" if under == name else f" (evaluated under {NOISES.get(under, under)})")
    return Line(title, one_a_seed(runs), "acc_noisy", "noisy", look)


def _over_eps(runs: Sequence[Run]) -> list[Line]:
    """The lines of (b): one an eps, the larger the lighter."""
    attacked = [run for run in runs if run.config.attack.name not in NOISES]
    radii = sorted({run.config.attack.eps for run in attacked})
    colors = [to_hex(colormaps["viridis"](share)) for share in np.linspace(0.0, 0.75, max(len(radii), 2))]
    looks = [Look(color, DASHES[i % len(DASHES)], "o") for i, color in enumerate(colors)]
    groups = {eps: [run for run in attacked if run.config.attack.eps == eps] for eps in radii}
    return [_attack_line(groups[eps], f"eps {pixels(eps)}", look) for eps, look in zip(radii, looks, strict=False)]


def _attack_line(runs: Sequence[Run], name: str, look: Look) -> Line:
    need_alike(runs, "figb5", f"the runs trained on {name} differ in more than the seed", (CORRUPTION,))
    return Line(name, one_a_seed(runs), "acc_adv", "adversarial", look)


def _attack(run: Run) -> str:
    return f"{run.config.attack.name.upper()}-{run.config.attack.n_steps}"


def _column(panels: Sequence[Axes], lines: Sequence[Line], column: int, last: float) -> None:
    """Both panels of a column that has lines."""
    drops = decays([run for line in lines for run in line.runs])
    for axes, split in zip(panels, SPLITS, strict=True):
        for line in lines:
            accuracy = need_curve(line.runs, "figb5", "evaluation", line.field, split, line.inputs)
            draw_curve(axes, accuracy, line.name, **line.look.line())
            if split == "test":
                mark_best_and_last(axes, accuracy, line.look.color)
        percent_axis(axes, f"{KINDS[column]} {split} accuracy")
        mark_stages(axes, drops, last)
    epoch_axis(panels[-1], last)
    eps = f", eps {pixels(lines[0].runs[0].config.attack.eps)}" if column == 0 else ""
    _legend_with_title(panels[0], TITLES[column] + eps)


def _legend_with_title(axes: Axes, title: str) -> None:
    """Title and legend above a panel."""
    n = len(axes.get_legend_handles_labels()[1])
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1.0), "borderaxespad": 0.2}
    axes.legend(title=title, title_fontsize=8.5, alignment="left", ncols=1 if n <= 3 else 2, **place)


def _share_limits(row: Sequence[Axes]) -> None:
    """The widest vertical limits of some panels for all of them."""
    limits = np.array([axes.get_ylim() for axes in row])
    for axes in row:
        axes.set_ylim(limits[:, 0].min(), limits[:, 1].max())


REGISTER = {"figb5": draw}
