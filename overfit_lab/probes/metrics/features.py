"""Numbers and maps of penultimate features (n, D) with labels y (n,)."""

from __future__ import annotations

import warnings

import numpy as np


def silhouette(features: np.ndarray, y: np.ndarray) -> float | None:
    """Mean silhouette of the classes, Euclidean, in [-1, 1], higher is better separated (Rousseeuw 1987).

    None where there are fewer than two classes, or as many as samples.
    """
    from sklearn.metrics import silhouette_score

    if not 2 <= len(np.unique(y)) <= len(y) - 1:
        return None
    return float(silhouette_score(features.astype(np.float64), y))


def knn_accuracy(features: np.ndarray, y: np.ndarray, k: int = 10) -> float:
    """Share of samples whose class most of their k nearest others have (leave one out), in [0, 1].

    At most n - 1 neighbours are taken; n is at least 2.
    """
    from sklearn.neighbors import KNeighborsClassifier

    k = min(k, len(y) - 1)
    model = KNeighborsClassifier(n_neighbors=k, algorithm="brute").fit(features, y)
    neighbours = model.kneighbors(return_distance=False)
    votes = np.zeros((len(y), int(y.max()) + 1))
    np.add.at(votes, (np.arange(len(y))[:, None], y[neighbours]), 1)
    return float((votes.argmax(axis=1) == y).mean())


def distance_ratio(features: np.ndarray, y: np.ndarray) -> float | None:
    """Mean squared distance to the own class's centre over that of the centres to the overall mean, at least 0.

    Lower is more collapsed. None for a single class or where all centres coincide, to within the rounding of a mean.
    """
    points = features.astype(np.float64)
    classes, which = np.unique(y, return_inverse=True)
    centres = np.stack([points[which == c].mean(axis=0) for c in range(len(classes))])
    within = np.square(points - centres[which]).sum(axis=1).mean()
    between = np.square(centres[which] - points.mean(axis=0)).sum(axis=1).mean()
    rounding = len(points) * np.finfo(np.float64).eps * np.abs(points).max()
    return float(within / between) if between > points.shape[1] * rounding**2 else None


N_CONTINUED = 100
"""Steps that an earlier map is moved on by: enough to settle after a small change, too few for the map to drift."""


def tsne(features: np.ndarray, *, seed: int, initial: np.ndarray | None = None, perplexity: float = 30) -> np.ndarray:
    """A t-SNE map (n, 2) float32 by openTSNE (van der Maaten and Hinton 2008; Policar et al. 2019).

    Distances between far groups and sizes of groups in the map carry no meaning. From an earlier map of the same
    samples it goes on for ``N_CONTINUED`` steps without the early exaggeration, which would tear it apart: nothing
    turns, mirrors or moves the map as a whole, so that points can be followed over epochs. After a large change of the
    features it may lag behind a map of its own.
    n is at least 5; a perplexity of at most (n - 1) / 3 is taken. The seed is that of the principal components' solver.
    """
    from openTSNE import TSNE

    perplexity = min(perplexity, (len(features) - 1) / 3)
    points = np.ascontiguousarray(features, dtype=np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if initial is not None:
            return _continued(points, initial, perplexity, seed)
        model = TSNE(
            perplexity=perplexity, initialization="pca", neighbors="exact", random_state=seed % 2**31, n_jobs=1
        )
        return np.asarray(model.fit(points), dtype=np.float32)


def _continued(points: np.ndarray, initial: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PerplexityBasedNN

    affinities = PerplexityBasedNN(points, perplexity=perplexity, method="exact", random_state=seed % 2**31, n_jobs=1)
    embedding = TSNEEmbedding(np.array(initial, dtype=np.float64), affinities, random_state=seed % 2**31, n_jobs=1)
    return np.asarray(embedding.optimize(n_iter=N_CONTINUED, momentum=0.8), dtype=np.float32)
