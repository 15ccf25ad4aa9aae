"""Adversarial training by PGD in a loop of one's own, with a monitor that says whether it overfits.

    python examples/minimal.py [FOLDER]     # half a minute on one CPU core

8x8 digits, 30% of the training labels wrong on purpose: after the learning rate decays they are learnt by heart.
"""

import sys
from functools import partial

import torch
from sklearn.datasets import load_digits
from torch.nn import BatchNorm1d, Flatten, Linear, ReLU, Sequential
from torch.nn.functional import cross_entropy

from overfit_lab import PGD, Monitor, ThreatModel

N_TRAIN, N_EPOCHS, BATCH = 500, 100, 32


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N, 1, 8, 8) in [0, 1] and labels (N,), shuffled; the first 150 labels are wrong."""
    x, y = load_digits(return_X_y=True)
    order = torch.randperm(len(x))
    images, labels = torch.tensor(x[order]).float().reshape(-1, 1, 8, 8) / 16, torch.tensor(y[order])
    labels[:150] = (labels[:150] + torch.randint(1, 10, (150,))) % 10
    return images, labels


def main(folder: str, n_epochs: int = N_EPOCHS) -> Monitor:
    """Train into a run folder; the monitor with all that it measured."""
    torch.manual_seed(0)
    x, y = digits()
    hidden = [Linear(64, 256), BatchNorm1d(256), ReLU(), Linear(256, 256), BatchNorm1d(256), ReLU()]
    model = Sequential(Flatten(), *hidden, Linear(256, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [n_epochs // 2, n_epochs * 3 // 4])

    attack = PGD(ThreatModel("linf", eps=0.1), step_size=0.025, n_steps=7)
    monitor = Monitor(model, (x[:N_TRAIN], y[:N_TRAIN]), (x[N_TRAIN:], y[N_TRAIN:]), attack=attack, folder=folder)
    generator = torch.Generator().manual_seed(0)
    for _ in range(n_epochs):
        for rows in torch.randperm(N_TRAIN).split(BATCH):
            clean, labels = x[rows], y[rows]
            loss_of = partial(cross_entropy, target=labels, reduction="none")  # of logits, a value per sample
            adversarial = attack(model, clean, loss_of, generator=generator)
            loss = cross_entropy(model(adversarial), labels)
            optimizer.zero_grad()
            loss.backward()
            monitor.gradients_ready(loss)  # the gradient of this step, read where it lies
            optimizer.step()
        monitor.epoch_ended(lr=optimizer.param_groups[0]["lr"])  # attacks train and test images, and measures
        schedule.step()
    monitor.close()
    return monitor


if __name__ == "__main__":
    main(*sys.argv[1:] or ["runs/minimal"])
    print("overfit-lab diagnose FOLDER says in words what the run shows")
