"""What holds for numbers of features: they see distances and which classes are the same, nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as drawn

from cases import EIGHTHS, steady
from overfit_lab.probes.metrics.features import distance_ratio, knn_accuracy, silhouette


@st.composite
def clouds(draw, most=16):
    """Features (n, D) on a grid, with points that coincide among them, and labels of up to four classes."""
    n, d = draw(st.integers(2, most)), draw(st.integers(1, 5))
    points = draw(drawn.arrays(np.float32, (n, d), elements=EIGHTHS))
    return points, draw(drawn.arrays(np.int64, n, elements=st.integers(0, 3)))


@st.composite
def normal_clouds(draw):
    """Features (n, D) no two of which coincide, and labels; classes differ by their means."""
    stream = np.random.default_rng(draw(st.integers(0, 10_000)))
    n, d = draw(st.integers(6, 40)), draw(st.integers(1, 6))
    y = stream.integers(0, 3, size=n)
    return (stream.normal(size=(n, d)) + y[:, None]).astype(np.float32), y


def numbers(points, y, k=3):
    return {
        "silhouette": silhouette(points, y),
        "knn": knn_accuracy(points, y, k),
        "ratio": distance_ratio(points, y),
    }


def close(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name] is None) == (value is None), name
        if value is not None:
            assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name


@steady
@given(clouds() | normal_clouds(), st.integers(1, 20))
def test_they_are_in_their_ranges(case, k):
    points, y = case
    found = numbers(points, y, k)
    n_classes = len(np.unique(y))
    assert (found["silhouette"] is None) == (not 2 <= n_classes < len(y))
    assert found["silhouette"] is None or -1 <= found["silhouette"] <= 1
    assert 0 <= found["knn"] <= 1
    assert found["knn"] * len(y) == pytest.approx(round(found["knn"] * len(y)))
    assert found["ratio"] is None or found["ratio"] >= 0
    assert found["ratio"] is None or n_classes > 1
    if n_classes == 1:
        assert found["knn"] == 1


@steady
@given(clouds())
def test_the_parts_of_the_ratio_make_up_the_whole_variance(case):
    points, y = case
    ratio = distance_ratio(points, y)
    exact = points.astype(np.float64)
    whole = exact.var(axis=0).sum()
    within = sum((y == c).mean() * exact[y == c].var(axis=0).sum() for c in np.unique(y))
    if ratio is None:
        assert whole == pytest.approx(within, rel=1e-9, abs=1e-12)
    elif whole - within > 1e-3 * whole:
        assert ratio == pytest.approx(within / (whole - within), rel=1e-6, abs=1e-9)


@steady
@given(normal_clouds(), st.data())
def test_the_order_of_samples_and_of_dimensions_plays_no_part(case, data):
    """To 1e-9; for neighbours only where no two distances are equal, since ties are broken by order."""
    points, y = case
    order = np.array(data.draw(st.permutations(range(len(y)))))
    columns = np.array(data.draw(st.permutations(range(points.shape[1]))))
    close(numbers(points[order][:, columns], y[order]), numbers(points, y))


@steady
@given(clouds(), st.permutations(range(4)))
def test_the_numbers_of_classes_play_no_part(case, names):
    """But for the accuracy of neighbours, where a tied vote goes to the first class, unless there is one neighbour."""
    points, y = case
    close(numbers(points, np.array(names)[y], k=1), numbers(points, y, k=1))


@steady
@given(clouds(), st.integers(-80, 80), st.sampled_from([0.25, 2.0, 64.0]))
def test_where_the_cloud_is_and_how_large_plays_no_part(case, shift, scale):
    """Exact numbers are moved here; rounding of distances far from the origin is another matter."""
    points, y = case
    close(numbers(scale * points + np.float32(shift / 8), y), numbers(points, y))


@steady
@given(normal_clouds())
def test_classes_that_are_far_apart_have_the_best_numbers(case):
    points, y = case
    y = np.sort(y % 2)
    if min(np.bincount(y, minlength=2)) < 4:
        return
    apart = np.concatenate([points, 1e4 * y[:, None].astype(np.float32)], axis=1)
    found = numbers(apart, y)
    assert found["silhouette"] > 0.99
    assert found["knn"] == 1
    assert found["ratio"] < 1e-3
    mixed = numbers(apart, np.arange(len(y)) % 2)
    assert mixed["silhouette"] < found["silhouette"]
    assert mixed["ratio"] > found["ratio"]
