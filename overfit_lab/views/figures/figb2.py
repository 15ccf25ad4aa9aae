"""Fig. B.2 of SGLR: expected calibration error over standard and over adversarial training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from overfit_lab.records.reader import Run
from overfit_lab.views.figures.caption import caption, samples, stages
from overfit_lab.views.figures.draw import draw_curve, legend_above, once
from overfit_lab.views.figures.experiments import by_experiment, standard_of
from overfit_lab.views.figures.series import check_some, curve, decays, last_epoch, not_recorded, title_of
from overfit_lab.views.figures.style import PAGE, epoch_axis, looks_of, new_figure, style

PANELS = (("clean", "(a) clean test images"), ("adversarial", "(b) adversarial test images"))
KINDS = ("standard", "adversarial")


def draw(runs: Sequence[Run]) -> Figure:
    """Expected calibration error per epoch on clean (a) and on adversarial (b) test images.

    One line an experiment, standard training (objective ``standard``) first, then adversarial training (any other);
    where only one kind was given, the caption says so. Formula and bins: :mod:`overfit_lab.probes.metrics.calibration`.

    Raises:
        RunFolderError: no run has the calibration probe.
    """
    check_some(runs, "figb2")
    groups = named(by_experiment(runs))
    looks = looks_of([key for key, _ in groups.values()])
    drops, last = decays(runs), last_epoch(runs)
    absent = [kind for kind in KINDS if not any(title.startswith(kind) for title in groups)]
    with style():
        measured = samples(runs, "calibration", "ece", "test", "")
        notes = [stages(drops), *(f"no run of {kind} training" for kind in absent)]
        text = caption(runs, split=f"ECE in 15 equal-width bins, {measured}", extra="; ".join(filter(None, notes)))
        figure = new_figure(PAGE, 2.9, text)
        panels = figure.subplots(1, 2, sharey=True)
        for axes, (inputs, title) in zip(panels, PANELS, strict=True):
            for name, (key, members) in groups.items():
                error = curve(members, "calibration", "ece", "test", inputs)
                draw_curve(axes, error, name, marker=looks[key].marker, **looks[key].line())
            axes.set_title(title, loc="left")
            epoch_axis(axes, last, drops)
        handles, names = once(panels)
        if not names:
            raise not_recorded("figb2", "calibration ece (test)", runs, "calibration")
        panels[0].set_ylim(bottom=0)  # last, since it ends the scaling of both panels
        panels[0].set_ylabel("expected calibration error")
        legend_above(figure, handles, names)
    return figure


def named(groups: Mapping[str, list[Run]]) -> dict[str, tuple[str, list[Run]]]:
    """Experiments by the kind of training, standard first, each with the name that gives its look.

    The only one of its kind is called by the kind alone, others by label mode and settings too.
    """
    kinds = {name: "standard" if standard_of(members[:1]) else "adversarial" for name, members in groups.items()}
    titled: dict[str, tuple[str, list[Run]]] = {}
    for kind in KINDS:
        names = [name for name in groups if kinds[name] == kind]
        for name in names:
            title = title_of(name).removeprefix("standard training, ")
            titled[f"{kind} training" if len(names) == 1 else f"{kind} training, {title}"] = (name, groups[name])
    return titled


REGISTER = {"figb2": draw}
