"""Numbers and maps of penultimate features."""

from __future__ import annotations

import warnings

import numpy as np


def silhouette(features: np.ndarray, y: np.ndarray) -> float | None:
    """Mean silhouette of the classes, Euclidean, in [-1, 1], higher is better separated (Rousseeuw 1987).

    None where there are fewer than two classes, or as many as samples.

    Args:
        features: (n, D).
        y: labels (n,).
    """
    from sklearn.metrics import silhouette_score

    if not 2 <= len(np.unique(y)) <= len(y) - 1:
        return None
    return float(silhouette_score(features.astype(np.float64), y))


def knn_accuracy(features: np.ndarray, y: np.ndarray, k: int = 10) -> float:
    """Share of samples whose class most of their k nearest others have (leave one out), in [0, 1].

    Args:
        features: (n, D), n at least 2.
        y: labels (n,).
        k: neighbours, at most n - 1 are taken.
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

    Args:
        features: (n, D).
        y: labels (n,).
    """
    points = features.astype(np.float64)
    classes, which = np.unique(y, return_inverse=True)
    centres = np.stack([points[which == c].mean(axis=0) for c in range(len(classes))])
    within = np.square(points - centres[which]).sum(axis=1).mean()
    between = np.square(centres[which] - points.mean(axis=0)).sum(axis=1).mean()
    rounding = len(points) * np.finfo(np.float64).eps * np.abs(points).max()
    return float(within / between) if between > points.shape[1] * rounding**2 else None


def tsne(features: np.ndarray, *, seed: int, initial: np.ndarray | None = None, perplexity: float = 30) -> np.ndarray:
    """A t-SNE map (n, 2) float32 by openTSNE (van der Maaten and Hinton 2008; Policar et al. 2019).

    Distances between far groups and sizes of groups in the map carry no meaning.

    Args:
        features: (n, D), n at least 5.
        seed: of the principal components' solver.
        initial: map to start from (n, 2); default the first two principal components.
        perplexity: effective number of neighbours, at most (n - 1) / 3 is taken.
    """
    from openTSNE import TSNE

    perplexity = min(perplexity, (len(features) - 1) / 3)
    model = TSNE(
        perplexity=perplexity,
        initialization="pca" if initial is None else initial,
        neighbors="exact",
        random_state=seed % 2**31,
        n_jobs=1,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        embedding = model.fit(np.ascontiguousarray(features, dtype=np.float64))
    return np.asarray(embedding, dtype=np.float32)
