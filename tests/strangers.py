"""Networks as other code bases have them: their names of parameters, their forward pass, nothing of ours.

Written after reading RobustBench 1.1.1, locuslab/robust_overfitting, locuslab/fast_adversarial, csdongxian/AWP,
yaodongyu/TRADES, kuangliu/pytorch-cifar, amirgholami/PyHessian and akamaster/pytorch_resnet_cifar10, as plain and as
small as the tests need them.
"""

import torch
from torch import nn
from torch.nn import functional as F


def conv(n_in, n_out, size=3, stride=1, padding=1):
    return nn.Conv2d(n_in, n_out, size, stride, padding, bias=False)


class PostAct(nn.Module):
    """conv-bn-relu-conv-bn plus a shortcut of the given name: ``shortcut`` or ``downsample``, or none with weights."""

    def __init__(self, n_in, width, stride, name="shortcut", bottleneck=False, padded=False):
        super().__init__()
        n_out = 4 * width if bottleneck else width
        plan = [(n_in, width, 1, 1), (width, width, 3, stride), (width, n_out, 1, 1)]
        plan = plan if bottleneck else [(n_in, width, 3, stride), (width, width, 3, 1)]
        self.depth, self.name, self.padded = len(plan), name, padded
        for i, (a, b, size, step) in enumerate(plan, 1):
            self.add_module(f"conv{i}", conv(a, b, size, step, size // 2))
            self.add_module(f"bn{i}", nn.BatchNorm2d(b))
        self.projects = stride != 1 or n_in != n_out
        if self.projects and not padded:
            self.add_module(name, nn.Sequential(conv(n_in, n_out, 1, stride, 0), nn.BatchNorm2d(n_out)))

    def forward(self, x):
        out = x
        for i in range(1, self.depth + 1):
            out = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(out))
            out = F.relu(out) if i < self.depth else out
        if self.projects and self.padded:
            quarter = out.shape[1] // 4
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, quarter, quarter))
        elif self.projects:
            x = getattr(self, self.name)(x)
        return F.relu(out + x)


class PostActNet(nn.Module):
    """``conv1 bn1 layer1.. linear`` of pytorch-cifar, TRADES, AWP, RobustBench; with ``fc`` PyHessian's."""

    def __init__(self, blocks, width, head="linear", n_classes=10, **options):
        super().__init__()
        self.conv1, self.bn1 = conv(3, width), nn.BatchNorm2d(width)
        n_in, self.n_stages, self.head = width, len(blocks), head
        for s, depth in enumerate(blocks):
            stage = []
            for i in range(depth):
                stage.append(PostAct(n_in, width * 2**s, 2 if s and not i else 1, **options))
                n_in = width * 2**s * (4 if options.get("bottleneck") else 1)
            self.add_module(f"layer{s + 1}", nn.Sequential(*stage))
        self.add_module(head, nn.Linear(n_in, n_classes))

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        for s in range(self.n_stages):
            x = getattr(self, f"layer{s + 1}")(x)
        return getattr(self, self.head)(x.mean((2, 3)))


class PreAct(nn.Module):
    def __init__(self, n_in, n_out, stride, of_input):
        super().__init__()
        self.of_input = of_input
        self.bn1, self.conv1 = nn.BatchNorm2d(n_in), conv(n_in, n_out, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(n_out), conv(n_out, n_out)
        if stride != 1 or n_in != n_out:
            self.shortcut = nn.Sequential(conv(n_in, n_out, 1, stride, 0))

    def forward(self, x):
        out = F.relu(self.bn1(x))
        skip = self.shortcut(x if self.of_input else out) if hasattr(self, "shortcut") else x
        return self.conv2(F.relu(self.bn2(self.conv1(out)))) + skip


class PreActNet(nn.Module):
    """PreActResNet18; ``final`` as Rice et al.'s, without as pytorch-cifar's; ``of_input`` as fast_adversarial's."""

    def __init__(self, width, final=True, of_input=False, n_classes=10):
        super().__init__()
        self.final, self.conv1, n_in = final, conv(3, width), width
        for s in range(4):
            n_out = width * 2**s
            first = PreAct(n_in, n_out, 2 if s else 1, of_input)
            self.add_module(f"layer{s + 1}", nn.Sequential(first, PreAct(n_out, n_out, 1, of_input)))
            n_in = n_out
        if final:
            self.bn = nn.BatchNorm2d(n_in)
        self.linear = nn.Linear(n_in, n_classes)

    def forward(self, x):
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        x = F.relu(self.bn(x)) if self.final else x
        return self.linear(F.avg_pool2d(x, 4).flatten(1))


class Wide(nn.Module):
    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.same = n_in == n_out
        self.bn1, self.conv1 = nn.BatchNorm2d(n_in), conv(n_in, n_out, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(n_out), conv(n_out, n_out)
        self.convShortcut = None if self.same else conv(n_in, n_out, 1, stride, 0)

    def forward(self, x):
        active = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return out + (x if self.same else self.convShortcut(active))


class Group(nn.Module):
    def __init__(self, n, n_in, n_out, stride):
        super().__init__()
        self.layer = nn.Sequential(*(Wide(n_out if i else n_in, n_out, 1 if i else stride) for i in range(n)))

    def forward(self, x):
        return self.layer(x)


class WideNet(nn.Module):
    """WideResNet of TRADES and its heirs; ``twice`` has the block that is carried and not used."""

    def __init__(self, depth, width, widen, twice=False, n_classes=10):
        super().__init__()
        n, (a, b, c) = (depth - 4) // 6, (width * widen * k for k in (1, 2, 4))
        self.conv1, self.block1 = conv(3, width), Group(n, width, a, 1)
        if twice:
            self.sub_block1 = Group(n, width, a, 1)
        self.block2, self.block3 = Group(n, a, b, 2), Group(n, b, c, 2)
        self.bn1, self.fc = nn.BatchNorm2d(c), nn.Linear(c, n_classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.block3(self.block2(self.block1(self.conv1(x))))))
        return self.fc(F.avg_pool2d(x, 8).flatten(1))


class SmallCNN(nn.Module):
    """TRADES' network for MNIST."""

    def __init__(self, n_classes=10):
        super().__init__()
        e = self.feature_extractor = nn.Sequential()
        for i, (a, b) in enumerate(((1, 32), (32, 32), (32, 64), (64, 64)), 1):
            e.add_module(f"conv{i}", nn.Conv2d(a, b, 3))
            e.add_module(f"relu{i}", nn.ReLU())
            if i % 2 == 0:
                e.add_module(f"maxpool{i // 2}", nn.MaxPool2d(2, 2))
        c = self.classifier = nn.Sequential()
        c.add_module("fc1", nn.Linear(1024, 200))
        c.add_module("relu1", nn.ReLU())
        c.add_module("drop", nn.Dropout(0.5))
        c.add_module("fc2", nn.Linear(200, 200))
        c.add_module("relu2", nn.ReLU())
        c.add_module("fc3", nn.Linear(200, n_classes))

    def forward(self, x):
        return self.classifier(self.feature_extractor(x).view(-1, 1024))


class DeepMind(nn.Module):
    """A block of DMWideResNet (``wide``) or DMPreActResNet: SiLU, and strides that pad right and bottom."""

    def __init__(self, n_in, n_out, stride, wide):
        super().__init__()
        self.stride, self.wide = stride, wide
        self.names = ("conv_0", "conv_1") if wide else ("conv_2d_1", "conv_2d_2")
        self.batchnorm_0, self.batchnorm_1 = nn.BatchNorm2d(n_in), nn.BatchNorm2d(n_out)
        self.add_module(self.names[0], conv(n_in, n_out, 3, stride, 0))
        self.add_module(self.names[1], conv(n_out, n_out))
        changes = n_in != n_out or (stride != 1 and not wide)
        self.shortcut = conv(n_in, n_out, 1 if wide else 3, stride, 0) if changes else None

    def pad(self, x):
        return F.pad(x, (1, 1, 1, 1) if self.stride == 1 else (0, 1, 0, 1))

    def forward(self, x):
        first, second = (getattr(self, name) for name in self.names)
        active = F.silu(self.batchnorm_0(x))
        out = second(F.silu(self.batchnorm_1(first(self.pad(active)))))
        if self.shortcut is None:
            return out + x
        return out + self.shortcut(active if self.wide else self.pad(x))


class DeepMindWide(nn.Module):
    def __init__(self, depth, width, widen, n_classes=10):
        super().__init__()
        n, n_in, groups = (depth - 4) // 6, width, []
        self.init_conv = conv(3, width)
        for s in range(3):
            n_out = width * widen * 2**s
            group = nn.Module()
            group.block = nn.Sequential(
                *(DeepMind(n_out if i else n_in, n_out, 2 if s and not i else 1, True) for i in range(n))
            )
            group.forward = group.block.forward
            groups.append(group)
            n_in = n_out
        self.layer = nn.Sequential(*groups)
        self.batchnorm, self.logits = nn.BatchNorm2d(n_in), nn.Linear(n_in, n_classes)

    def forward(self, x):
        return self.logits(F.silu(self.batchnorm(self.layer(self.init_conv(x)))).mean((2, 3)))


class DeepMindPreAct(nn.Module):
    def __init__(self, width, n_classes=10):
        super().__init__()
        self.conv_2d, n_in = conv(3, width), width
        for s in range(4):
            n_out = width * 2**s
            first = DeepMind(n_in, n_out, 2 if s else 1, False)
            self.add_module(f"layer_{s}", nn.Sequential(first, DeepMind(n_out, n_out, 1, False)))
            n_in = n_out
        self.batchnorm, self.logits = nn.BatchNorm2d(n_in), nn.Linear(n_in, n_classes)

    def forward(self, x):
        x = self.layer_3(self.layer_2(self.layer_1(self.layer_0(self.conv_2d(x)))))
        return self.logits(F.silu(self.batchnorm(x)).mean((2, 3)))


def randomised(model, seed=0):
    """The model in eval mode with random weights and random batch-norm statistics, so that a swap would be seen."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.2)
                nn.init.normal_(module.running_mean, std=0.2)
                nn.init.uniform_(module.running_var, 0.5, 2)
            elif isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.normal_(module.bias, std=0.1)
    return model.eval()


def images(n=3, channels=3, side=32, seed=1):
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(seed))


def prefixed(state, prefix):
    return {prefix + name: value for name, value in state.items()}
