"""Penultimate features: how classes separate, in numbers and on a map."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field as OptionField

from overfit_lab.errors import ProbeError
from overfit_lab.models.features import find_layer, penultimate_features
from overfit_lab.probes.base import Field, Probe, ProbeOptions
from overfit_lab.probes.metrics.features import distance_ratio, knn_accuracy, silhouette, tsne
from overfit_lab.probes.snapshot import Snapshot
from overfit_lab.types import Measurement, Value

LEAST = 5


class FeaturesOptions(ProbeOptions):
    """Options of the features probe."""

    tsne: Literal["last", "always", "never"] = OptionField("last", description="when a t-SNE map is drawn")
    perplexity: float = OptionField(30, gt=1, description="effective neighbours of the map")
    neighbours: int = OptionField(10, ge=1, description="k of the k-NN accuracy")


class FeaturesProbe(Probe):
    """Silhouette, leave-one-out k-NN accuracy and within/between distance ratio of the penultimate features.

    The features are the input of the layer that the model declares as ``penultimate``. Labels are the true ones. The
    t-SNE map is drawn at the last epoch, or as asked for; with ``tsne: always`` each map goes on from the latest
    earlier one of the run, where that is of the same samples, so that a trajectory is continuous. Features that are not
    finite, as those of a diverged model, have NaN for numbers and no map; nor is there a map of features that all
    coincide.
    """

    name = "features"
    source = "Rousseeuw 1987 (silhouette); van der Maaten and Hinton 2008 (t-SNE); SGLR (Yu et al. 2024), Fig. 5"
    default_inputs = ("clean",)
    Options = FeaturesOptions
    options: FeaturesOptions
    trial_options: ClassVar[dict[str, Any]] = {"tsne": "never"}
    fields = (
        Field("silhouette", "mean silhouette of the classes", better="higher"),
        Field("knn_acc", "leave-one-out k-NN accuracy", better="higher"),
        Field("distance_ratio", "squared distance within classes over between", better="lower"),
    )

    def check(self, snapshot: Snapshot) -> None:
        """Also: the penultimate layer is declared and exists."""
        super().check(snapshot)
        if snapshot.penultimate is None:
            raise ProbeError(
                "features: the model declares no penultimate layer; name it by --set model.penultimate=LAYER"
            )
        find_layer(snapshot.model, snapshot.penultimate)

    def measure(self, snapshot: Snapshot, *, generator: torch.Generator) -> Measurement:
        """Numbers on each view, and the map where one is due.

        Cost: one forward pass a sample; the map takes seconds for 1,000 samples.
        """
        layer, clock = str(snapshot.penultimate), snapshot.clock
        due = {"always": True, "last": clock.epoch == clock.n_epochs, "never": False}
        values: list[Value] = []
        arrays: dict[str, np.ndarray] = {}
        for view in self.views(snapshot):
            if len(view) < LEAST:
                raise ProbeError(f"features: {len(view)} samples of split {view.split!r}, needs at least {LEAST}")
            points = penultimate_features(snapshot.model, view.x, layer, snapshot.chunk).cpu().numpy()
            y = view.y_true.cpu().numpy()
            numbers = self._numbers(points, y)
            values += [view.value(field, v, labels="true") for field, v in numbers.items() if v is not None]
            if due[self.options.tsne] and np.isfinite(points).all() and np.ptp(points, axis=0).any():
                key = f"{view.split}-{view.inputs}"
                initial = self._earlier_map(snapshot, key, y)
                seed = generator.initial_seed()
                tsne_map = tsne(points, seed=seed, initial=initial, perplexity=self.options.perplexity)
                arrays |= view.arrays(tsne=tsne_map, label=y, pred=view.logits.argmax(1).cpu().numpy())
        return Measurement(values, arrays)

    def _numbers(self, points: np.ndarray, y: np.ndarray) -> dict[str, float | None]:
        if not np.isfinite(points).all():
            return {field.name: math.nan for field in self.fields}
        return {
            "silhouette": silhouette(points, y),
            "knn_acc": knn_accuracy(points, y, self.options.neighbours),
            "distance_ratio": distance_ratio(points, y),
        }

    def _earlier_map(self, snapshot: Snapshot, key: str, y: np.ndarray) -> np.ndarray | None:
        """The latest earlier map of the same samples, where maps are drawn at every epoch; else None."""
        history = snapshot.history
        if history is None or self.options.tsne != "always":
            return None
        name = snapshot.name_of(self.name)
        drawn, labels = history.arrays(name, f"tsne-{key}"), history.arrays(name, f"label-{key}")
        if drawn is None or labels is None or not np.array_equal(labels[1], y):
            return None
        return drawn[1] if drawn[1].shape == (len(y), 2) and np.isfinite(drawn[1]).all() else None


REGISTER = {"features": FeaturesProbe}
