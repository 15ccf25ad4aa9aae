"""Small networks in the forms that are found in the wild; a few hundred parameters, images (3, 8, 8), three classes."""

import warnings
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune
from torch.utils.checkpoint import checkpoint
from torchvision.models.resnet import BasicBlock

K, SHAPE = 3, (3, 8, 8)
FLOAT32, BFLOAT16 = 1e-4, 3e-2


@dataclass(frozen=True)
class Network:
    """One form of a network.

    Args:
        name: its key in the registry.
        describes: what it stands for, in a few words.
        build: makes one; :meth:`make` seeds it.
        tolerance: relative accuracy that its numbers have, that of the type it computes in.
        penultimate: its last linear layer, None where there is no such module.
        output: where in its return value the logits are, as the adapter takes it.
        casts: whether it casts images to its own type itself.
        smooth_gradient: whether its gradient is the derivative of its values (not so for a straight-through one).
    """

    name: str
    describes: str
    build: Callable[[], nn.Module]
    tolerance: float = FLOAT32
    penultimate: str | None = "head"
    output: str | None = None
    casts: bool = False
    smooth_gradient: bool = True

    def make(self, seed: int = 0) -> nn.Module:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch deprecates some of the forms that people still use
            torch.manual_seed(seed)
            return self.build()


ZOO: dict[str, Network] = {}


def network(name, describes, **more):
    def register(build):
        assert name not in ZOO
        ZOO[name] = Network(name, describes, build, **more)
        return build

    return register


def conv(n_in=3, n_out=4, size=3, stride=1, **more):
    return nn.Conv2d(n_in, n_out, size, stride, size // 2 * more.get("dilation", 1), **more)


def stem(width=4):
    """(b, 3, 8, 8) to (b, width, 4, 4)."""
    return conv(3, width, stride=2)


class Pool(nn.Module):
    def forward(self, h):
        return h.mean((2, 3))


class Net(nn.Module):
    """A stem, what a subclass does in between, a mean over pixels where there are any, and a linear head."""

    pixels = True

    def __init__(self, width=4):
        super().__init__()
        self.stem, self.head = stem(), nn.Linear(width, K)

    def features(self, h):
        raise NotImplementedError

    def forward(self, x):
        h = self.features(F.relu(self.stem(x)))
        return self.head(h.mean((2, 3)) if self.pixels else h)


def parts(**modules):
    """A Sequential of named modules, ending in ``head``."""
    net = nn.Sequential()
    for name, module in modules.items():
        net.add_module(name, module)
    return net


# Plain ones


@network("plain", "convolutions, ReLU, a linear head")
def plain():
    return parts(a=stem(), r=nn.ReLU(), b=conv(4), s=nn.ReLU(), p=Pool(), head=nn.Linear(4, K))


@network("smooth", "GELU, SiLU, tanh and softplus for activations")
def smooth():
    return parts(
        a=stem(), r=nn.GELU(), b=conv(4), s=nn.SiLU(), p=Pool(), c=nn.Linear(4, 4), t=nn.Tanh(), d=nn.Linear(4, 4),
        u=nn.Softplus(), head=nn.Linear(4, K)
    )  # fmt: skip


@network("mlp", "linear layers alone")
def mlp():
    return parts(
        p=nn.AvgPool2d(4), f=nn.Flatten(), a=nn.Linear(12, 8), r=nn.ReLU(), b=nn.Linear(8, 6), s=nn.ReLU(),
        head=nn.Linear(6, K)
    )  # fmt: skip


@network("pools", "max, average and adaptive pooling")
def pools():
    return parts(
        a=conv(), m=nn.MaxPool2d(2), b=conv(4), r=nn.ReLU(), v=nn.AvgPool2d(2), w=nn.AdaptiveMaxPool2d(1),
        f=nn.Flatten(), head=nn.Linear(4, K)
    )  # fmt: skip


@network("leaky", "PReLU, LeakyReLU in place, Hardswish")
def leaky():
    return parts(
        a=stem(), r=nn.PReLU(4), b=conv(4), s=nn.LeakyReLU(0.1, inplace=True), c=conv(4), h=nn.Hardswish(), p=Pool(),
        head=nn.Linear(4, K)
    )  # fmt: skip


@network("log-probabilities", "ends in a log-softmax", penultimate="2")
def log_probabilities():
    return nn.Sequential(stem(), Pool(), nn.Linear(4, K), nn.LogSoftmax(1))


@network("dropout", "dropout of numbers, of channels and of a whole branch")
class Dropout(Net):
    def __init__(self):
        super().__init__()
        self.a, self.bn, self.one, self.channels = conv(4), nn.BatchNorm2d(4), nn.Dropout(0.4), nn.Dropout2d(0.3)

    def features(self, h):
        if self.training and torch.rand(()) < 0.3:
            return h
        return h + self.one(F.relu(self.bn(self.a(self.channels(h)))))


# Shared weights


@network("tied-linear", "one linear layer called twice")
class TiedLinear(Net):
    pixels = False

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def features(self, h):
        return F.relu(self.fc(F.relu(self.fc(h.mean((2, 3))))))


class Block(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, h):
        return F.relu(self.bn(self.conv(h)) + h)


@network("thrice", "one block three times in a Sequential")
def thrice():
    block = Block()
    return parts(a=stem(), b=nn.Sequential(block, block, block), p=Pool(), head=nn.Linear(4, K))


@network("module-list", "ModuleList([block] * 3)")
class Listed(Net):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block()] * 3)

    def features(self, h):
        for block in self.blocks:
            h = block(h)
        return h


@network("alias", "one module under two names, self.g = self.f")
class Alias(Net):
    def __init__(self):
        super().__init__()
        self.f = conv(4)
        self.g = self.f

    def features(self, h):
        return F.relu(self.g(F.relu(self.f(h))))


@network("alias-unused", "one module under two names, called by the second alone")
class AliasUnused(Net):
    def __init__(self):
        super().__init__()
        self.f = conv(4)
        self.g = self.f

    def features(self, h):
        return F.relu(self.g(h))


@network("shared-conv", "two convolutions with one weight")
class SharedConv(Net):
    def __init__(self):
        super().__init__()
        self.a, self.b = conv(4), conv(4)
        self.b.weight = self.a.weight

    def features(self, h):
        return F.relu(self.b(F.relu(self.a(h))))


@network("shared-norm", "convolutions of their own whose batch norms share weight and bias")
class SharedNorm(Net):
    def __init__(self):
        super().__init__()
        self.a, self.b = conv(4, bias=False), conv(4, bias=False)
        self.na, self.nb = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.nb.weight, self.nb.bias = self.na.weight, self.na.bias

    def features(self, h):
        return F.relu(self.nb(self.b(F.relu(self.na(self.a(h))))))


@network("tied-functional", "a layer's weight used again, transposed, by F.linear")
class TiedFunctional(Net):
    pixels = False

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 5)
        nn.init.constant_(self.fc.bias, 0.3)  # a unit of each sample is alive

    def features(self, h):
        return F.linear(F.relu(self.fc(h.mean((2, 3)))), self.fc.weight.t())


@network("tied-embedding", "an embedding of quantised pixels whose table is the head's weight", penultimate=None)
class TiedEmbedding(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.mix, self.out = nn.Embedding(K, 4), conv(), nn.Linear(4, 4)

    def forward(self, x):
        words = self.table((x.detach().mean(1) * K).long().clamp(0, K - 1)).mean((1, 2))
        h = words + F.relu(self.mix(x)).mean((2, 3))
        return F.linear(self.out(h), self.table.weight)


# In place


@network("bn-relu-inplace", "conv, batch norm, ReLU in place in a Sequential")
def bn_relu_inplace():
    return parts(
        a=stem(), n=nn.BatchNorm2d(4), r=nn.ReLU(inplace=True), b=conv(4, bias=False), m=nn.BatchNorm2d(4),
        s=nn.ReLU(inplace=True), p=Pool(), head=nn.Linear(4, K)
    )  # fmt: skip


@network("resnet", "torchvision's basic block: out += identity, ReLU in place")
def resnet():
    down = nn.Sequential(nn.Conv2d(3, 3, 1, 2, bias=False), nn.BatchNorm2d(3))
    return parts(a=BasicBlock(3, 3, 2, down), b=BasicBlock(3, 3), p=Pool(), head=nn.Linear(3, K))


class Normed(Net):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = conv(4), nn.BatchNorm2d(4)


@network("inplace-dropped", "an activation in place whose result is dropped: F.relu_(h); return h")
class InplaceDropped(Normed):
    def features(self, h):
        h = self.bn(self.conv(h))
        F.relu_(h)
        return h


@network("inplace-module-dropped", "the same by a module: self.relu(h); return h")
class InplaceModuleDropped(Normed):
    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU(inplace=True)

    def features(self, h):
        h = self.bn(self.conv(h))
        self.relu(h)
        return h


@network("inplace-aliased", "b = a; b.relu_(); return a + b")
class InplaceAliased(Normed):
    def features(self, h):
        a = self.bn(self.conv(h))
        b = a
        b.relu_()
        return a + b


@network("inplace-view", "half of the channels changed in place through a view")
class InplaceView(Normed):
    def features(self, h):
        h = self.bn(self.conv(h))
        h[:, :2].mul_(0.5).relu_()
        return F.relu(h - 0.1)


@network("inplace-out", "a result written into a tensor made beforehand")
class InplaceOut(Normed):
    def features(self, h):
        out = torch.zeros_like(h)
        out[:, :2] = self.bn(self.conv(h))[:, :2]
        out[:, 2:] = h[:, 2:]
        return F.relu(out)


@network("clamp", "clamp_ for an activation")
class Clamp(Normed):
    def features(self, h):
        return self.bn(self.conv(h)).clamp_(0, 1)


@network("changes-images", "normalises its images in place")
class ChangesImages(Net):
    def features(self, h):
        return h

    def forward(self, x):
        x.sub_(0.5).div_(0.25)
        return super().forward(x)


# Joins


@network("chunk", "a gated linear unit by chunk")
class Chunk(Net):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = conv(4, 8), nn.BatchNorm2d(8)

    def features(self, h):
        a, b = self.bn(self.conv(h)).chunk(2, 1)
        return a * torch.sigmoid(b)


@network("split", "halves by split, each with its own activation")
class Split(Normed):
    def features(self, h):
        a, b = torch.split(self.bn(self.conv(h)), [1, 3], 1)
        return torch.cat([F.relu(a), b.abs()], 1)


@network("maxout", "the larger of two maps, and of pixels")
class Maxout(Normed):
    pixels = False

    def features(self, h):
        h = torch.max(self.bn(self.conv(h)), h)
        return h.flatten(2).max(2).values


@network("topk", "the three largest pixels of each channel")
class TopK(Normed):
    pixels = False

    def features(self, h):
        return self.bn(self.conv(h)).flatten(2).topk(3, dim=2)[0].sum(2)


@network("view", "h.view(h.size(0), -1)")
class View(Normed):
    pixels = False

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(16, K)

    def features(self, h):
        h = F.max_pool2d(F.relu(self.bn(self.conv(h))), 2)
        return h.view(h.size(0), -1)


@network("dense", "densenet: every layer's features are concatenated")
class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm = conv(3, 3, stride=2, bias=False), nn.BatchNorm2d(3)
        self.layers = nn.ModuleList(self.Layer(n) for n in (3, 5))
        self.last, self.head = nn.BatchNorm2d(7), nn.Linear(7, K)

    class Layer(nn.Module):
        def __init__(self, n_in):
            super().__init__()
            self.norm1, self.conv1 = nn.BatchNorm2d(n_in), conv(n_in, 3, 1, bias=False)
            self.norm2, self.conv2 = nn.BatchNorm2d(3), conv(3, 2, bias=False)
            self.relu = nn.ReLU(inplace=True)

        def forward(self, found):
            h = self.conv1(self.relu(self.norm1(torch.cat(found, 1))))
            return self.conv2(self.relu(self.norm2(h)))

    def forward(self, x):
        found = [F.relu(self.norm(self.stem(x)), inplace=True)]
        for layer in self.layers:
            found.append(layer(found))
        return self.head(F.relu(self.last(torch.cat(found, 1)), inplace=True).mean((2, 3)))


@network("inception", "googlenet: branches concatenated, and an auxiliary head in training")
class Inception(Net):
    class Basic(nn.Module):
        def __init__(self, n_in, n_out, size):
            super().__init__()
            self.conv, self.bn = conv(n_in, n_out, size, bias=False), nn.BatchNorm2d(n_out, eps=0.001)

        def forward(self, h):
            return F.relu(self.bn(self.conv(h)), inplace=True)

    def __init__(self):
        super().__init__(6)
        self.one, self.three = self.Basic(4, 2, 1), nn.Sequential(self.Basic(4, 2, 1), self.Basic(2, 2, 3))
        self.pooled, self.auxiliary = self.Basic(4, 2, 1), nn.Linear(4, K)

    def features(self, h):
        return torch.cat([self.one(h), self.three(h), self.pooled(F.max_pool2d(h, 3, 1, 1))], 1)

    def forward(self, x):
        h = F.relu(self.stem(x))
        out = self.head(self.features(h).mean((2, 3)))
        return out + 0.3 * self.auxiliary(h.mean((2, 3))) if self.training else out


@network("shuffle", "shufflenet: channels split, depthwise convolution, channels shuffled")
class Shuffle(Net):
    def __init__(self):
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(2, 2, 1, bias=False), nn.BatchNorm2d(2), nn.ReLU(inplace=True),
            nn.Conv2d(2, 2, 3, 1, 1, groups=2, bias=False), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1), nn.ReLU(inplace=True)
        )  # fmt: skip

    def features(self, h):
        for _ in range(1):
            a, b = h.chunk(2, dim=1)
            h = torch.cat((a, self.branch(b)), dim=1)
            n, c, height, width = h.size()
            h = h.view(n, 2, c // 2, height, width).transpose(1, 2).contiguous().view(n, c, height, width)
        return h


@network("stack", "branches stacked, summed and the largest taken")
class Stack(Normed):
    def features(self, h):
        both = torch.stack([self.bn(self.conv(h)), h])
        return both.sum(0) + both.amax(0)


@network("unet", "down, up by interpolation, a skip concatenated")
class UNet(Net):
    def __init__(self):
        super().__init__()
        self.down, self.up = conv(4, 4, stride=2), conv(8, 4)

    def features(self, h):
        low = F.relu(self.down(h))
        high = F.interpolate(low, scale_factor=2, mode="bilinear", align_corners=False)
        return F.relu(self.up(torch.cat([h, high], 1)))


@network("squeeze", "squeeze-and-excitation: channels scaled by a sigmoid")
class Squeeze(Normed):
    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)

    def features(self, h):
        h = F.relu(self.bn(self.conv(h)))
        scale = torch.sigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(h, 1)))))
        return h * scale


# What is trained and what is not


@network("unused", "a layer and a parameter that no forward pass uses")
class Unused(Normed):
    def __init__(self):
        super().__init__()
        self.extra, self.scale = nn.Linear(4, 4), nn.Parameter(torch.ones(3))

    def features(self, h):
        return F.relu(self.bn(self.conv(h)))


@network("no-grad-trunk", "a trunk under no_grad whose parameters say that they are trained")
class NoGradTrunk(Normed):
    def features(self, h):
        with torch.no_grad():
            h = F.relu(self.bn(self.conv(h)))
        return F.relu(h)

    def forward(self, x):
        with torch.no_grad():
            h = F.relu(self.stem(x))
        return self.head(self.features(h).mean((2, 3)))


@network("detached", "features detached before the head, and a branch that is not", smooth_gradient=False)
class Detached(Normed):
    def features(self, h):
        return F.relu(self.bn(self.conv(h))).detach() + h


@network("frozen-trunk", "everything but the head is frozen, batch norm in eval mode while the head trains")
class FrozenTrunk(Normed):
    def __init__(self):
        super().__init__()
        for module in (self.stem, self.conv, self.bn):
            module.requires_grad_(False)

    def train(self, mode=True):
        super().train(mode)
        self.bn.eval()
        return self

    def features(self, h):
        return F.relu(self.bn(self.conv(h)))


@network("frozen-some", "a weight frozen whose bias is trained, a layer frozen in the middle")
class FrozenSome(Normed):
    def __init__(self):
        super().__init__()
        self.stem.weight.requires_grad_(False)
        self.conv.requires_grad_(False)

    def features(self, h):
        return F.relu(self.bn(self.conv(h)))


@network("low-rank", "LoRA: a frozen weight and a trained product of two small ones")
class LowRank(Net):
    pixels = False

    def __init__(self):
        super().__init__()
        self.base = nn.Linear(4, 4).requires_grad_(False)
        self.down, self.up = nn.Parameter(torch.randn(2, 4)), nn.Parameter(0.1 * torch.randn(4, 2))

    def features(self, h):
        h = h.mean((2, 3))
        return F.relu(self.base(h) + h @ self.down.t() @ self.up.t())


@network("all-frozen", "no trainable parameter")
def all_frozen():
    return plain().requires_grad_(False)


# Attention and recurrence


def tokens(h):
    return h.flatten(2).transpose(1, 2)


@network("attention", "nn.MultiheadAttention over pixels")
class Attention(Net):
    pixels = False

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def features(self, h):
        h = tokens(h)
        return (h + self.attention(h, h, h, need_weights=False)[0]).mean(1)


@network("encoder-layer", "nn.TransformerEncoderLayer over pixels")
class EncoderLayer(Net):
    pixels = False

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.1, batch_first=True)

    def features(self, h):
        return self.layer(tokens(h)).mean(1)


@network("encoder", "nn.TransformerEncoder of two layers, norm first, GELU")
class Encoder(Net):
    pixels = False

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 4, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def features(self, h):
        return self.layers(tokens(h)).mean(1)


class SelfAttention(nn.Module):
    """As in timm: one projection to queries, keys and values, and torch's fused attention."""

    def __init__(self, width=4, heads=2):
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, h):
        b, n, c = h.shape
        q, k, v = self.qkv(h).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c))


class ViT(nn.Module):
    """Patches, a class token and positions of its own, one block."""

    def __init__(self):
        super().__init__()
        self.token, self.position = nn.Parameter(torch.randn(1, 1, 4)), nn.Parameter(torch.randn(1, 5, 4))
        self.norm1, self.attention, self.norm2 = nn.LayerNorm(4), SelfAttention(), nn.LayerNorm(4)
        self.mlp = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 4))
        self.norm, self.head = nn.LayerNorm(4), nn.Linear(4, K)

    def forward(self, x):
        h = self.patches(x)
        h = torch.cat([self.token.expand(len(x), -1, -1), h], 1) + self.position
        h = h + self.attention(self.norm1(h))
        h = h + self.mlp(self.norm2(h))
        return self.head(self.norm(h)[:, 0])


@network("vit-conv", "a vision transformer whose patches are embedded by a convolution")
class ViTConv(ViT):
    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(3, 4, 4, 4)

    def patches(self, x):
        return tokens(self.embed(x))


@network("vit-unfold", "a vision transformer whose patches are embedded by unfold and a linear layer")
class ViTUnfold(ViT):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(48, 4)

    def patches(self, x):
        return self.embed(F.unfold(x, 4, stride=4).transpose(1, 2))


@network("lstm", "an LSTM over rows of pixels")
class LSTM(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(8, 3, batch_first=True), nn.Linear(3, K)

    def forward(self, x):
        return self.head(self.rnn(x.mean(1))[0][:, -1])


@network("gru", "a GRU over rows of pixels, both ways")
class GRU(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.GRU(8, 2, batch_first=True, bidirectional=True), nn.Linear(4, K)

    def forward(self, x):
        return self.head(self.rnn(x.mean(1))[1].transpose(0, 1).flatten(1))


# Norms and weights that are computed


@network(
    "group-norm",
    "group norm",
)
class GroupNorm(Normed):
    def __init__(self):
        super().__init__()
        self.bn = nn.GroupNorm(2, 4)

    def features(self, h):
        return F.relu(self.bn(self.conv(h)))


@network("instance-norm", "instance norm with weights")
class InstanceNorm(Normed):
    def __init__(self):
        super().__init__()
        self.bn = nn.InstanceNorm2d(4, affine=True)

    def features(self, h):
        return F.relu(self.bn(self.conv(h)))


@network("layer-norm", "layer norm over channels and pixels")
class LayerNorm(Normed):
    def __init__(self):
        super().__init__()
        self.bn = nn.LayerNorm((4, 4, 4))

    def features(self, h):
        return F.relu(self.bn(self.conv(h)))


@network("plain-norm", "batch norm without weights, after the activation")
class PlainNorm(Normed):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm2d(4, affine=False)

    def features(self, h):
        return self.bn(F.relu(self.conv(h)))


@network("weight-norm-old", "nn.utils.weight_norm, by hooks")
class WeightNormOld(Net):
    def __init__(self):
        super().__init__()
        self.conv = nn.utils.weight_norm(conv(4))

    def features(self, h):
        return F.relu(self.conv(h))


@network("weight-norm", "weight norm as a parametrisation")
class WeightNorm(Net):
    def __init__(self):
        super().__init__()
        self.conv = parametrizations.weight_norm(conv(4))

    def features(self, h):
        return F.relu(self.conv(h))


@network("spectral-norm-old", "nn.utils.spectral_norm, by hooks")
class SpectralNormOld(Net):
    def __init__(self):
        super().__init__()
        self.conv = nn.utils.spectral_norm(conv(4))

    def features(self, h):
        return F.relu(self.conv(h))


@network("spectral-norm", "spectral norm as a parametrisation")
class SpectralNorm(Net):
    def __init__(self):
        super().__init__()
        self.conv = parametrizations.spectral_norm(conv(4))

    def features(self, h):
        return F.relu(self.conv(h))


class Positive(nn.Module):
    def forward(self, weight):
        return F.softplus(weight) - 0.7


@network("parametrised", "a parametrisation of one's own")
class Parametrised(Net):
    def __init__(self):
        super().__init__()
        self.conv = conv(4)
        parametrize.register_parametrization(self.conv, "weight", Positive())

    def features(self, h):
        return F.relu(self.conv(h))


@network("pruned", "torch.nn.utils.prune: a mask beside the weight")
class Pruned(Net):
    def __init__(self):
        super().__init__()
        self.conv = conv(4)
        prune.l1_unstructured(self.conv, "weight", amount=0.3)

    def features(self, h):
        return F.relu(self.conv(h))


@network("standardised", "weight standardisation: a convolution that overrides forward")
class Standardised(Net):
    class Conv(nn.Conv2d):
        def forward(self, h):
            weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            weight = weight / (weight.std((1, 2, 3), keepdim=True) + 1e-5)
            return F.conv2d(h, weight, self.bias, self.stride, self.padding)

    def __init__(self):
        super().__init__()
        self.conv = self.Conv(4, 4, 3, padding=1)

    def features(self, h):
        return F.relu(self.conv(h))


@network("mixture", "architecture weights: a softmax of parameters mixes two branches")
class Mixture(Net):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.alpha = conv(4), conv(4, size=1), nn.Parameter(torch.randn(2))

    def features(self, h):
        first, second = self.alpha.softmax(0)
        return F.relu(first * self.a(h) + second * self.b(h))


@network("functional", "parameters used by einsum and matmul", penultimate=None)
class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.pixels = nn.Parameter(torch.randn(3, 4, 4) / 2)
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(4, 5) / 2), nn.Parameter(torch.randn(5, K))])
        self.named = nn.ParameterDict({"bias": nn.Parameter(torch.randn(K))})

    def forward(self, x):
        h = torch.einsum("bchw,chd->bdw", F.avg_pool2d(x, 2), self.pixels).mean(2)
        return torch.relu(h @ self.weights[0]).matmul(self.weights[1]) + self.named["bias"]


# Convolutions of other kinds


@network("grouped", "grouped, depthwise, dilated convolutions")
class Grouped(Net):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = conv(4, groups=2), conv(4, groups=4), conv(4, dilation=2)

    def features(self, h):
        return F.relu(self.c(F.relu(self.b(F.relu(self.a(h))))))


@network("transposed", "a transposed convolution")
class Transposed(Net):
    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(4, 4, 2, 2)

    def features(self, h):
        return F.relu(self.up(h))


@network("pixel-shuffle", "a convolution and a pixel shuffle")
class PixelShuffle(Net):
    def __init__(self):
        super().__init__(2)
        self.up, self.shuffle = conv(4, 8), nn.PixelShuffle(2)

    def features(self, h):
        return F.relu(self.shuffle(self.up(h)))


@network("padded", "reflecting padding, and a convolution that pads 'same' circularly")
class Padded(Net):
    def __init__(self):
        super().__init__()
        self.pad, self.a = nn.ReflectionPad2d(1), nn.Conv2d(4, 4, 3)
        self.b = nn.Conv2d(4, 4, 3, padding="same", padding_mode="circular")

    def features(self, h):
        return F.relu(self.b(F.relu(self.a(self.pad(h)))))


@network("row-conv", "a 1-d convolution over rows, 3-d batch norm input")
class RowConv(Net):
    pixels = False

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv1d(4, 4, 3, padding=1), nn.BatchNorm1d(4)

    def features(self, h):
        return F.relu(self.bn(self.conv(h.flatten(2)))).mean(2)


@network("channels-last", "weights in channels-last memory order")
def channels_last():
    return bn_relu_inplace().to(memory_format=torch.channels_last)


@network("lazy", "LazyLinear and LazyConv2d, initialised by a first pass")
def lazy():
    net = lazy_uninitialised()
    net(torch.zeros(1, *SHAPE))
    return net


@network("lazy-uninitialised", "LazyLinear that has seen no image")
def lazy_uninitialised():
    return parts(a=nn.LazyConv2d(4, 3, 2, 1), r=nn.ReLU(), p=Pool(), head=nn.LazyLinear(K))


# Types


@network("autocast", "torch.autocast to bfloat16 inside of forward", tolerance=BFLOAT16)
class Autocast(Normed):
    def features(self, h):
        return F.relu(self.bn(self.conv(h)))

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(x)


@network("autocast-float", "autocast inside, logits cast back to float32", tolerance=BFLOAT16)
class AutocastFloat(Autocast):
    def forward(self, x):
        return super().forward(x).to(self.head.weight.dtype)


@network("bfloat16", "weights in bfloat16", tolerance=BFLOAT16)
def bfloat16():
    return plain().to(torch.bfloat16)


@network("float64", "weights in float64")
def float64():
    return bn_relu_inplace().double()


@network("float64-casts", "weights in float64, images cast inside", casts=True)
class Float64(Normed):
    def __init__(self):
        super().__init__()
        self.double()

    def features(self, h):
        return F.relu(self.bn(self.conv(h)))

    def forward(self, x):
        return super().forward(x.double())


@network("fourier", "complex inside: a filter in the frequency domain, and a complex weight")
class Fourier(Net):
    def __init__(self):
        super().__init__()
        self.filter = nn.Parameter(torch.randn(4, 4, 3, 2) / 2)

    def features(self, h):
        spectrum = torch.fft.rfft2(h) * torch.view_as_complex(self.filter)
        return torch.fft.irfft2(spectrum, s=h.shape[-2:])


@network("modulus", "complex inside: the modulus of a sum of two maps")
class Modulus(Normed):
    def features(self, h):
        return torch.complex(self.conv(h), self.bn(h)).abs()


# What a model keeps and gives


@network("keeps-feature", "keeps a feature in a plain attribute: self.last = h")
class KeepsFeature(Normed):
    def features(self, h):
        self.last = F.relu(self.bn(self.conv(h)))
        return self.last


@network("appends-feature", "appends features to a list and counts its calls")
class AppendsFeature(Normed):
    def __init__(self):
        super().__init__()
        self.seen, self.calls, self.by_name = [], 0, {}

    def features(self, h):
        h = F.relu(self.bn(self.conv(h)))
        self.seen.append(h)
        self.by_name["last"] = h
        self.calls += 1
        return h


@network("counts", "a buffer that every forward pass changes, in eval mode too, and one that it replaces")
class Counts(Normed):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.register_buffer("mean", torch.zeros(4))

    def features(self, h):
        self.calls += 1
        self.mean = 0.9 * self.mean + 0.1 * h.detach().mean((0, 2, 3))
        return F.relu(self.bn(self.conv(h)))


@network("constant", "a plain tensor attribute that is a constant")
class Constant(Normed):
    def __init__(self):
        super().__init__()
        self.scale = torch.full((4, 1, 1), 0.7)

    def features(self, h):
        return F.relu(self.bn(self.conv(h)) * self.scale)


@network("own-hook", "a forward hook of the user's that changes a layer's output, and a backward hook")
class OwnHook(Normed):
    def __init__(self):
        super().__init__()
        self.conv.register_forward_hook(_half)
        self.stem.register_full_backward_hook(_nothing)

    def features(self, h):
        return F.relu(self.bn(self.conv(h)))


def _half(module, inputs, output):
    return output * 0.5


def _nothing(module, gradients, output_gradients):
    return None


@network("tensor-hook", "a hook on a tensor that clips what is passed back", smooth_gradient=False)
class TensorHook(Normed):
    def features(self, h):
        h = F.relu(self.bn(self.conv(h)))
        if h.requires_grad:
            h.register_hook(_half_gradient)
        return h


def _half_gradient(gradient):
    return gradient * 0.5


class Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, h):
        ctx.save_for_backward(h)
        return h.sign()

    @staticmethod
    def backward(ctx, gradient):
        (h,) = ctx.saved_tensors
        return gradient * (h.abs() < 1)


@network("straight-through", "a function of its own with a gradient that passes through a sign", smooth_gradient=False)
class StraightThrough(Normed):
    def features(self, h):
        return Sign.apply(self.bn(self.conv(h)))


Output = namedtuple("Output", "logits features")


@network("gives-dict", "gives a dict with logits", output="logits")
class GivesDict(Normed):
    def features(self, h):
        return F.relu(self.bn(self.conv(h)))

    def forward(self, x):
        return {"logits": super().forward(x), "loss": None}


@network("gives-named", "gives a named tuple with logits", output="logits")
class GivesNamed(GivesDict):
    def forward(self, x):
        return Output(super().forward(x)["logits"], None)


@network("gives-tuple", "gives a plain tuple, logits first")
class GivesTuple(GivesDict):
    def forward(self, x):
        return super().forward(x)["logits"], None


@network("compiled", "torch.compile of the whole")
def compiled():
    return torch.compile(bn_relu_inplace(), backend="eager")


@network("compiled-part", "a part that is compiled", penultimate="head")
class CompiledPart(Net):
    def __init__(self):
        super().__init__()
        self.body = torch.compile(nn.Sequential(conv(4), nn.BatchNorm2d(4), nn.ReLU(inplace=True)), backend="eager")

    def features(self, h):
        return self.body(h)


@network("data-parallel", "nn.DataParallel on the CPU")
def data_parallel():
    return nn.DataParallel(bn_relu_inplace(), device_ids=[])


@network("checkpointed", "activations recomputed, without reentry")
class Checkpointed(Normed):
    reentrant = False

    def features(self, h):
        return checkpoint(self.body, h, use_reentrant=self.reentrant)

    def body(self, h):
        return F.relu(self.bn(self.conv(h)))


@network("checkpointed-reentrant", "activations recomputed by the reentrant form")
class CheckpointedReentrant(Checkpointed):
    reentrant = True


# What must be refused


@network("mixes-mean", "subtracts the mean over the batch")
class MixesMean(Normed):
    def features(self, h):
        h = F.relu(self.bn(self.conv(h)))
        return h - h.mean(0, keepdim=True)


@network("mixes-norm", "batch norm without running statistics")
class MixesNorm(Normed):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm2d(4, track_running_stats=False)

    def features(self, h):
        return F.relu(self.bn(self.conv(h)))


@network("random", "draws noise in eval mode too")
class Random(Normed):
    def features(self, h):
        return F.dropout(F.relu(self.bn(self.conv(h))), 0.3, training=True)


@network("not-finite", "logits that are not finite")
class NotFinite(Normed):
    def features(self, h):
        return F.relu(self.bn(self.conv(h))) / 0.0
