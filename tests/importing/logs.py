"""Logs as other loops write them, made here."""

import csv
import io

import numpy as np

N = 30


def curves(n=N, seed=0):
    """Epochs from 1, learning rate, and clean and robust numbers on train and test."""
    draws = np.random.default_rng(seed)
    rows = []
    for epoch in range(1, n + 1):
        late = epoch > n // 2
        test = 0.5 - 0.004 * max(0, epoch - n // 2) + 0.002 * draws.normal()
        rows.append(
            {
                "epoch": epoch,
                "lr": 0.01 if late else 0.1,
                "train_acc": round(0.6 + 0.01 * epoch, 4),
                "train_robust_acc": round(0.4 + 0.015 * epoch, 4),
                "test_acc": 0.8,
                "test_robust_acc": round(test, 4),
                "test_robust_loss": 1.5,
            }
        )
    return rows


def as_csv(rows, delimiter=","):
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
