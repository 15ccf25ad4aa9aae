"""Pre-activation residual networks in their CIFAR form (He et al. 2016, arXiv 1603.05027)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional

from overfit_lab.models.spec import ModelSpec

ShortcutOf = Literal["activation", "input"]
MakeBlock = Callable[[int, int, int], nn.Module]


class PreActBlock(nn.Module):
    """Batch norm, ReLU, 3x3 convolution, twice; the shortcut branches off after the first activation (or before it)
    where it changes shape, and is the input itself elsewhere.
    """

    def __init__(self, n_in: int, n_out: int, stride: int, shortcut_of: ShortcutOf = "activation") -> None:
        super().__init__()
        self.shortcut_of = shortcut_of
        self.bn1 = nn.BatchNorm2d(n_in)
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.shortcut: nn.Module | None = None
        if stride != 1 or n_in != n_out:
            self.shortcut = nn.Conv2d(n_in, n_out, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_in, H, W) to (B, n_out, H / stride, W / stride)."""
        active = functional.relu(self.bn1(x))
        skip = x if self.shortcut is None else self.shortcut(active if self.shortcut_of == "activation" else x)
        out = self.conv1(active)
        out = self.conv2(functional.relu(self.bn2(out)))
        return out + skip  # type: ignore[no-any-return]


class PreActResNet(nn.Module):
    """A 3x3 stem, stages of pre-activation blocks with stride 2 between them, final batch norm, pooling, linear.

    The final batch norm and activation are there, as in the variant of Rice et al. (2020), unless they are left out.
    Weights are drawn as torch draws them.

    Args:
        stem_stride: stride of the stem; 2 quarters the work.
        block: makes a block from its channels in and out and its stride.
        activation: after the final batch norm.
        final_norm: whether there are a final batch norm and its activation.
    """

    penultimate = "linear"
    family = "preact-resnet"
    advice: ClassVar[dict[str, str]] = {
        r"missing bn\.": "the file's network has no final batch norm: add --set model.final_norm=false (and also "
        "--set model.shortcut=input if it comes from RobustBench, see docs/checkpoints.md)",
        r"unexpected bn\.": "the file's network has a final batch norm: --set model.final_norm=true",
    }

    def __init__(
        self,
        spec: ModelSpec,
        *,
        stem: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        stem_stride: int = 1,
        block: MakeBlock = PreActBlock,
        activation: Callable[[Tensor], Tensor] = functional.relu,
        final_norm: bool = True,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.normalize = spec.normalize()
        self.conv1 = nn.Conv2d(spec.shape[0], stem, 3, stride=stem_stride, padding=1, bias=False)
        stages: list[nn.Module] = []
        n_in = stem
        for stage, (n_out, depth) in enumerate(zip(widths, blocks, strict=True)):
            layers = []
            for i in range(depth):
                layers.append(block(n_in, n_out, 2 if stage > 0 and i == 0 else 1))
                n_in = n_out
            stages.append(nn.Sequential(*layers))
        self.stages = nn.ModuleList(stages)
        self.bn = nn.BatchNorm2d(n_in) if final_norm else None
        self.linear = nn.Linear(n_in, spec.n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W) in [0, 1]."""
        out = self.conv1(self.normalize(x))
        for stage in self.stages:
            out = stage(out)
        if self.bn is not None:
            out = self.activation(self.bn(out))
        logits: Tensor = self.linear(functional.adaptive_avg_pool2d(out, 1).flatten(1))
        return logits


def preact_resnet18(
    spec: ModelSpec,
    *,
    width: int = 64,
    blocks: tuple[int, ...] = (2, 2, 2, 2),
    stem_stride: int = 1,
    final_norm: bool = True,
    shortcut: ShortcutOf = "activation",
) -> nn.Module:
    """PreAct-ResNet-18 for 32x32 images (11.17 million parameters at width 64); narrower or shallower by options."""
    return PreActResNet(
        spec,
        stem=width,
        widths=[width * 2**stage for stage in range(len(blocks))],
        blocks=blocks,
        stem_stride=stem_stride,
        block=partial(PreActBlock, shortcut_of=shortcut),
        final_norm=final_norm,
    )


REGISTER = {"preact-resnet18": preact_resnet18}
