"""Networks whose layers are awkward to differentiate by hand; all float64, in eval mode, for images (3, 8, 8)."""

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from overfit_lab.models.mlp import MLP
from overfit_lab.models.preact_resnet import preact_resnet18
from overfit_lab.models.small_cnn import SmallCNN
from overfit_lab.models.spec import ModelSpec

K = 4


class Block(nn.Module):
    """A residual block as torchvision writes it: in-place ReLU, ``out +=``."""

    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out)
        self.conv2, self.bn2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False), nn.BatchNorm2d(n_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.downsample(x)
        return self.relu(out)


def in_place():
    return nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.MaxPool2d(2), Block(4, 6, 2), nn.Flatten(), nn.Linear(24, K))


def convolutions():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, padding_mode="circular"),
        nn.LeakyReLU(0.1),
        nn.Conv2d(6, 6, (3, 2), stride=(2, 1), padding=2, dilation=(2, 1), groups=3),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding="same", groups=6, bias=False),
        nn.ReLU(),
        nn.Flatten(2),
        nn.Conv1d(6, 5, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(4),
        nn.Linear(4, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(15, K),
    )


class Tied(nn.Module):
    """One matrix, used by two modules, and a third time without a module."""

    def __init__(self, functionally=False):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(192, 6), nn.Linear(6, 6), nn.Linear(6, K)
        self.third = nn.Linear(6, 6)
        self.third.weight = self.second.weight
        self.functionally = functionally

    def forward(self, x):
        h = self.second(functional.relu(self.first(x.flatten(1))))
        h = functional.linear(functional.relu(h), self.head.weight.T @ self.head.weight) if self.functionally else h
        return self.head(functional.relu(self.third(functional.relu(h))))


class Twice(nn.Module):
    """A module that is called twice."""

    def __init__(self):
        super().__init__()
        self.first, self.again, self.head = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 5, 3, padding=1), nn.Linear(180, K)

    def forward(self, x):
        h = functional.relu(self.again(functional.relu(self.first(x))))
        return self.head(functional.relu(self.again(h)).flatten(1))


class Own(nn.Module):
    """Parameters of its own in the model and in a module; one is never used, one is frozen."""

    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Parameter(torch.rand(6) + 0.5), nn.Parameter(torch.rand(()))

        def forward(self, h):
            return h * self.a + self.b

    def __init__(self):
        super().__init__()
        self.first, self.scale, self.head = nn.Linear(192, 6), Own.Scale(), nn.Linear(6, K)
        self.offset, self.unused = nn.Parameter(torch.rand(K)), nn.Parameter(torch.rand(2))
        self.head.bias.requires_grad_(False)

    def forward(self, x):
        return self.head(functional.relu(self.scale(self.first(x.flatten(1))))) + self.offset


class Overwritten(nn.Module):
    """A layer's input is overwritten after the layer has seen it."""

    def __init__(self):
        super().__init__()
        self.first, self.scale, self.head = nn.Linear(192, 6), nn.Linear(6, 6), nn.Linear(6, K)

    def forward(self, x):
        h = self.first(x.flatten(1))
        out = self.scale(h)
        if not self.scale.weight.requires_grad:  # else autograd itself refuses it
            h.zero_()
        return self.head(functional.relu(out))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(24, 8)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, K)

    def forward(self, x):
        h = self.embed(x.transpose(1, 2).flatten(2))
        h = self.norm(h + self.attend(h, h, h, need_weights=False)[0])
        return self.head(h.mean(1))


class Excite(nn.Module):
    """Squeeze and excitation with ReLUs alone: a product of activations."""

    def __init__(self):
        super().__init__()
        self.conv, self.gate, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 4), nn.Linear(4, K)

    def forward(self, x):
        h = functional.relu(self.conv(x))
        return self.head(h.mean((2, 3)) * functional.relu(self.gate(h.mean((2, 3))) + 1))


def activated(activation, norm=None):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        norm or nn.Identity(),
        activation,
        nn.Flatten(),
        nn.Linear(144, 6),
        nn.ReLU(),
        nn.Linear(6, K),
    )


def normed_weights():
    net = activated(nn.ReLU())
    weight_norm(net[0])
    return net


LINEAR = {
    "mlp": lambda: MLP(ModelSpec(K, (3, 8, 8)), hidden=7),
    "small-cnn": lambda: SmallCNN(ModelSpec(K, (3, 8, 8), (0.5,) * 3, (0.2,) * 3), width=3),
    "preact-resnet18": lambda: preact_resnet18(ModelSpec(K, (3, 8, 8)), width=2, blocks=(1, 1, 1)),
    "in-place": in_place,
    "convolutions": convolutions,
    "own": Own,
    "overwritten": Overwritten,
    "leaky": lambda: activated(nn.LeakyReLU(0.2)),
}
"""Piecewise linear in each single weight."""

CURVED = {
    "tied": Tied,
    "tied-functionally": lambda: Tied(functionally=True),
    "twice": Twice,
    "attention": Attention,
    "excite": Excite,
    "gelu": lambda: activated(nn.GELU()),
    "silu": lambda: activated(nn.SiLU()),
    "softplus": lambda: activated(nn.Softplus()),
    "layer-norm": lambda: activated(nn.ReLU(), nn.LayerNorm([4, 6, 6])),
    "group-norm": lambda: activated(nn.ReLU(), nn.GroupNorm(2, 4)),
    "weight-norm": normed_weights,
}
"""Not so."""

NETS = {**LINEAR, **CURVED}


def net_of(name):
    """The network with seeded weights and batch-norm statistics unlike the initial ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = NETS[name]().double().eval()
        for module in net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.2)
    return net


def images(n, seed=1):
    """(n, 3, 8, 8) float64 and labels (n,)."""
    stream = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, 8, 8, generator=stream, dtype=torch.float64), torch.randint(K, (n,), generator=stream)
