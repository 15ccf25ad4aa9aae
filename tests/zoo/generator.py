"""Random networks from a seed: layers, joins, sharing, in-place operations, freezing and norms drawn at random."""

import random
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from zoo.networks import SHAPE, K, Network

WIDTH = 4
ACTIVATIONS = ("relu", "relu_", "relu-module_", "dropped", "clamp_", "leaky", "gelu", "tanh", "abs", "none")
NORMS = ("batch", "batch", "batch", "group", "instance", "layer", "none", "none")
KINDS = ("conv", "conv", "residual", "cat", "add", "stack", "largest", "gate", "split", "shuffle", "shared", "tied")
KINDS += ("functional", "scaled", "frozen", "no-grad", "detached", "unused", "dropout", "squeeze", "normed", "kept")


class Activation(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.module = kind, nn.ReLU(inplace=True)

    def forward(self, h):
        match self.kind:
            case "relu":
                return F.relu(h)
            case "relu_":
                return torch.relu_(h)
            case "relu-module_":
                return self.module(h)
            case "dropped":
                F.relu_(h)
                return h
            case "clamp_":
                return h.clamp_(-0.5, 2)
            case "leaky":
                return F.leaky_relu(h, 0.2)
            case "gelu":
                return F.gelu(h)
            case "tanh":
                return torch.tanh(h)
            case "abs":
                return h.abs()
        return h


def norm_of(kind, width):
    if kind == "batch":
        return nn.BatchNorm2d(width)
    if kind == "group":
        return nn.GroupNorm(2, width)
    if kind == "instance":
        return nn.InstanceNorm2d(width, affine=True)
    return nn.LayerNorm((width, 4, 4)) if kind == "layer" else nn.Identity()


class Conv(nn.Module):
    """A convolution, a norm and an activation, each drawn."""

    def __init__(self, draw, width=WIDTH, stride=1, n_in=WIDTH):
        super().__init__()
        size, groups = draw.choice((1, 3, 3)), draw.choice((1, 1, 2)) if n_in == WIDTH else 1
        self.conv = nn.Conv2d(n_in, width, size, stride, size // 2, groups=groups, bias=draw.random() < 0.5)
        self.norm, self.act = norm_of(draw.choice(NORMS), width), Activation(draw.choice(ACTIVATIONS))

    def forward(self, h):
        return self.act(self.norm(self.conv(h)))


class Step(nn.Module):
    """What happens to (b, 4, 4, 4) features, of the same shape afterwards."""

    def __init__(self, draw, kind, before):
        super().__init__()
        self.kind = kind
        earlier = [step.body for step in before if isinstance(getattr(step, "body", None), Conv)]
        if kind in ("shared", "tied") and not earlier:
            self.kind = kind = "conv"
        if kind == "shared":
            self.body = draw.choice(earlier)
        elif kind == "functional":
            self.weight = nn.Parameter(torch.randn(WIDTH, WIDTH, 3, 3) / 6)
        elif kind == "scaled":
            self.scale = nn.Parameter(torch.randn(WIDTH, 1, 1))
        elif kind == "normed":
            self.body = norm_of(draw.choice(("batch", "group", "layer")), WIDTH)
        elif kind == "dropout":
            self.body = nn.Dropout(0.3)
        elif kind in ("gate", "split"):
            self.body = Conv(draw, 2 * WIDTH)
        else:
            self.body = Conv(draw)
        if kind == "tied":
            other = draw.choice(earlier).conv
            self.body.conv = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=other.groups, bias=False)
            self.body.conv.kernel_size, self.body.conv.padding = other.kernel_size, other.padding
            self.body.conv.weight = other.weight
        if kind in ("cat", "squeeze"):
            self.merge = nn.Conv2d(2 * WIDTH if kind == "cat" else WIDTH, WIDTH, 1)
        if kind == "frozen":
            self.body.requires_grad_(False)

    def forward(self, h):
        match self.kind:
            case "residual":
                out = self.body(h)
                out += h
                return out
            case "cat":
                return self.merge(torch.cat([h, self.body(h)], 1))
            case "add":
                return self.body(h) + h
            case "stack":
                return torch.stack([h, self.body(h)], 1).mean(1)
            case "largest":
                return torch.max(h, self.body(h))
            case "gate":
                a, b = self.body(h).chunk(2, dim=1)
                return a * torch.sigmoid(b)
            case "split":
                a, b, c = torch.split(self.body(h), [1, 3, 4], 1)
                return torch.cat([a, b], 1) + 0.5 * c
            case "shuffle":
                n, c, height, width = h.size()
                h = self.body(h)
                return h.view(n, 2, c // 2, height, width).transpose(1, 2).reshape(n, c, height, width)
            case "functional":
                return F.conv2d(h, self.weight, padding=1)
            case "scaled":
                return h * self.scale
            case "no-grad":
                with torch.no_grad():
                    other = self.body(h)
                return h + other
            case "detached":
                return h + self.body(h).detach()
            case "unused":
                return h
            case "squeeze":
                return h * torch.sigmoid(self.merge(F.adaptive_avg_pool2d(self.body(h), 1)))
            case "kept":
                self.last = self.body(h)
                return self.last
        return self.body(h)


class RandomNetwork(nn.Module):
    def __init__(self, draw):
        super().__init__()
        self.stem = Conv(draw, stride=2, n_in=3)
        steps = []
        for _ in range(draw.randint(1, 3)):
            steps.append(Step(draw, draw.choice(KINDS), steps))
        self.steps = nn.ModuleList(steps)
        self.flat = draw.choice(("mean", "view", "max"))
        self.head = nn.Linear(16 if self.flat == "view" else WIDTH, K)

    def forward(self, x):
        h = self.stem(x)
        for step in self.steps:
            h = step(h)
        if self.flat == "view":
            h = F.avg_pool2d(h, 2).contiguous()
            return self.head(h.view(h.size(0), -1))
        return self.head(h.mean((2, 3)) if self.flat == "mean" else h.amax((2, 3)))


def random_network(seed) -> Network:
    """The network of a seed, the first of its draws that can be trained at all; the same wherever it is made."""
    for attempt in range(20):
        build = partial(drawn, f"{seed}.{attempt}")
        network = Network(f"random-{seed}", "drawn at random", build, smooth_gradient=False)
        try:
            network.make()(torch.rand(2, *SHAPE)).sum().backward()
        except RuntimeError:  # what a later step changes in place, an earlier one needs for its gradient
            continue
        return network
    raise AssertionError(f"seed {seed} draws no network that trains")


def drawn(seed):
    draw = random.Random(seed)
    torch.manual_seed(draw.randrange(2**31))
    net = RandomNetwork(draw)
    if draw.random() < 0.2:
        draw.choice([m for m in net.modules() if list(m.parameters(False))]).requires_grad_(False)
    return net
