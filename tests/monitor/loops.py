"""A stranger's plain loop: digits, a network that is none of ours, and a few epochs."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

EPOCHS = 3


def arrays():
    images, y = load_digits(return_X_y=True)
    x = torch.tensor(images / 16 * 255).round().to(torch.uint8).view(-1, 1, 8, 8)
    y = torch.tensor(y)
    return (x[:200], y[:200]), (x[200:300], y[200:300])


def stranger():
    """Not one of our networks: dropout, in-place ReLU, its own names."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(64, 24),
            nn.BatchNorm1d(24),
            nn.ReLU(inplace=True),
            nn.Dropout(0.2),
            nn.Linear(24, 10),
        )


def plain_loop(model, train, monitor=None):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(EPOCHS):
            model.train()
            for index in torch.randperm(len(train[1])).split(50):
                optimizer.zero_grad()
                loss = functional.cross_entropy(model(train[0][index] / 255), train[1][index])
                loss.backward()
                if monitor is not None:
                    monitor.gradients_ready(loss)
                optimizer.step()
            if monitor is not None:
                monitor.epoch_ended(lr=0.1)
    return model
