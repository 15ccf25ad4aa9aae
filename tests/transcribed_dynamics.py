"""Per-sample dynamics by plain loops over captured logits: nothing of the package computes here."""

import math

import numpy as np

from overfit_lab.records.dynamics import COUNTS, QUANTITIES


def said(z, y):
    """Loss, margin, probability, distance, class and probabilities of one sample, written out."""
    top = max(z)
    total = sum(math.exp(v - top) for v in z)
    p = [math.exp(v - top) / total for v in z]
    loss = -(z[y] - top - math.log(total))
    margin = z[y] - max(v for k, v in enumerate(z) if k != y)
    distance = math.sqrt(sum((v - (k == y)) ** 2 for k, v in enumerate(p)))
    return [loss, margin, p[y], distance], list(z).index(top), p


def transcribed(captured, view, n, n_epochs):
    """Everything that is recorded of a view, by plain loops over epochs, batches and samples.

    ``captured`` are the steps of the run, as many in each epoch: index, given labels, and logits by view.
    """
    per_epoch = len(captured) // n_epochs
    draws = {}
    for step, (index, labels, logits) in enumerate(captured):
        for i, y, z in zip(index, labels, logits[view], strict=True):
            draws.setdefault((i, step // per_epoch), []).append((said(z.tolist(), y), y))
    numbers = np.full((4, n, n_epochs), np.nan)
    predicted = np.full((n, n_epochs), 255)
    counts = {name: np.zeros(n, int) for name in COUNTS}
    probabilities = np.full((n, len(captured[0][2][view][0])), np.nan)
    for i in range(n):
        was_correct, rows = False, []
        for epoch in range(n_epochs):
            if (i, epoch) not in draws:
                continue
            found = draws[i, epoch]
            numbers[:, i, epoch] = np.mean([values for (values, _, _), _ in found], axis=0)
            (_, predicted[i, epoch], _), y = found[-1]
            rows += [p for (_, _, p), _ in found]
            correct = predicted[i, epoch] == y
            counts["n_epochs"][i] += 1
            counts["n_correct"][i] += correct
            counts["n_forgotten"][i] += was_correct and not correct
            if correct and not counts["first_correct"][i]:
                counts["first_correct"][i] = epoch + 1
            was_correct = correct
        if rows:
            probabilities[i] = np.mean(rows, axis=0)
    return numbers, predicted, counts, probabilities


def assert_transcribed(dynamics, captured, n_epochs=3):
    """The numbers of each epoch where they were kept, and statistics over epochs."""
    numbers, predicted, counts, probabilities = transcribed(captured, dynamics.view, dynamics.n_samples, n_epochs)
    seen = ~np.isnan(numbers[0]).all(axis=1)
    if dynamics.level == "full":
        assert dynamics.epochs == tuple(range(1, n_epochs + 1))
        assert (dynamics.predicted == predicted).all()
    for name, expected in zip(QUANTITIES, numbers, strict=True):
        if dynamics.level == "full":
            kept = getattr(dynamics, name)
            assert kept.shape == expected.shape
            np.testing.assert_allclose(kept.astype(float), expected, rtol=2**-10, atol=2e-6, err_msg=name)
        over = {"mean": np.nanmean(expected[seen], axis=1), "std": np.nanstd(expected[seen], axis=1)}
        for what, value in over.items():
            np.testing.assert_allclose(dynamics.running[f"{name}_{what}"][seen], value, rtol=1e-4, atol=1e-5)
            assert np.isnan(dynamics.running[f"{name}_{what}"][~seen]).all()
    for name, expected in counts.items():
        assert (dynamics.running[name] == expected).all(), name
    np.testing.assert_allclose(dynamics.probabilities, probabilities, rtol=1e-4, atol=1e-6)
