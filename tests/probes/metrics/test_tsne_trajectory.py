"""Maps that go on from earlier ones: points can be followed, and the map is as good as one of its own."""

import itertools

import numpy as np
import pytest
from openTSNE.affinity import PerplexityBasedNN
from sklearn.metrics import pairwise_distances

from overfit_lab.probes.metrics.features import tsne


def divergence(points, positions):
    """KL of the map's similarities to the features', by the definition (van der Maaten and Hinton 2008, Eq. 5)."""
    p = PerplexityBasedNN(points, perplexity=30, method="exact").P.toarray()
    w = 1 / (1 + pairwise_distances(positions.astype(float), squared=True))
    np.fill_diagonal(w, 0)
    q, some = w / w.sum(), p > 0
    return (p[some] * np.log(p[some] / q[some])).sum()


def moved(a, b):
    return np.linalg.norm(a - b, axis=1).mean()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_trajectory_is_continuous_and_its_maps_are_as_good_as_those_that_start_anew(seed):
    stream = np.random.default_rng(seed)
    y = np.arange(120) % 4
    start = stream.normal(size=(120, 20)) + 3 * stream.normal(size=(4, 20))[y]
    maps, own = [], []
    for step in range(5):
        points = start + 0.12 * step * stream.normal(size=start.shape)
        own.append(tsne(points, seed=step))
        maps.append(tsne(points, seed=step, initial=maps[-1] if maps else None))
        assert divergence(points, maps[-1]) < 1.1 * divergence(points, own[-1])
    continued = np.mean([moved(a, b) for a, b in itertools.pairwise(maps)])
    anew = np.mean([moved(a, b) for a, b in itertools.pairwise(own)])
    assert continued < anew / 2.5
    assert continued < 0.06 * maps[0].std()
    assert maps[-1].std() == pytest.approx(maps[0].std(), rel=0.1)


def test_an_earlier_map_keeps_its_orientation_and_place():
    """Turned and mirrored beginnings give maps that are turned and mirrored likewise."""
    stream = np.random.default_rng(0)
    points = stream.normal(size=(90, 10)) + 4 * np.eye(3, 10)[np.arange(90) % 3]
    first = tsne(points, seed=0).astype(float)
    turn = np.array([[0.6, 0.8], [0.8, -0.6]])
    plain, turned = tsne(points, seed=1, initial=first), tsne(points, seed=1, initial=first @ turn)
    assert np.median(np.linalg.norm(plain @ turn - turned, axis=1)) < 0.1 * plain.std()
    assert np.corrcoef(plain.ravel(), first.ravel())[0, 1] > 0.99
    assert np.array_equal(plain, tsne(points, seed=1, initial=first))
