"""Where bfloat16 and a second thread begin to pay: what auto in compute.precision and compute.threads goes by."""

from __future__ import annotations

from collections.abc import Callable

import torch
from harness import Bar, Result, Row, take_turns
from setting import K, Setting
from torch import Tensor, nn
from training_step import EPS, STEP, Trainer

from overfit_lab.methods.attacks.losses import CrossEntropy
from overfit_lab.methods.attacks.pgd import PGD
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.models.compute.work import forward_flops
from overfit_lab.models.mlp import MLP
from overfit_lab.models.preact_resnet import preact_resnet18
from overfit_lab.models.small_cnn import SmallCNN
from overfit_lab.models.spec import ModelSpec
from overfit_lab.training.compute import WORTH_NARROWING, WORTH_SHARING, computing_on

STEPS = 3


def _preact(width: int, blocks: tuple[int, ...], stem_stride: int) -> Callable[[ModelSpec], nn.Module]:
    return lambda spec: preact_resnet18(spec, width=width, blocks=blocks, stem_stride=stem_stride)


SHALLOW, WHOLE = (1, 1, 1, 1), (2, 2, 2, 2)
NETWORKS: dict[str, tuple[Callable[[ModelSpec], nn.Module], int, int]] = {
    "MLP of the digits recipes, 8x8": (lambda spec: MLP(spec), 8, 32),
    "small CNN, width 16, 8x8": (lambda spec: SmallCNN(spec, width=16), 8, 64),
    "4 blocks, width 16, 8x8": (_preact(16, SHALLOW, 1), 8, 64),
    "4 blocks, width 16, stride 2 (cifar10-small)": (_preact(16, SHALLOW, 2), 32, 128),
    "4 blocks, width 16": (_preact(16, SHALLOW, 1), 32, 128),
    "8 blocks, width 32, stride 2 (cifar10-medium)": (_preact(32, WHOLE, 2), 32, 128),
}
"""Network, side of the images, batch."""


def attack(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """A short PGD."""
    pgd = PGD(ThreatModel(eps=EPS), step_size=STEP, n_steps=STEPS)
    return pgd(model, x, CrossEntropy(y), generator=torch.Generator().manual_seed(0))


def measure(setting: Setting) -> Result:
    """Seconds of a PGD-3 step in fp32 and bf16 on one thread, and in fp32 on two."""
    rows, narrowed, shared = [], [], []
    for title, (make, side, batch) in NETWORKS.items():
        torch.manual_seed(0)
        channels = 1 if side == 8 else 3
        model = make(ModelSpec(K, shape=(channels, side, side))).to(memory_format=torch.channels_last)
        x = torch.rand(setting.size(batch, 4), channels, side, side).to(memory_format=torch.channels_last)
        y = torch.arange(len(x)) % K
        one, narrow, two = (Trainer(model, attack), Trainer(model, attack, narrow=True), Trainer(model, attack))

        def on_two(trainer: Trainer = two, x: Tensor = x, y: Tensor = y) -> None:
            with computing_on(2):
                trainer.step(x, y)

        turns = {
            "fp32": lambda t=one, x=x, y=y: t.step(x, y),
            "bf16": lambda t=narrow, x=x, y=y: t.step(x, y),
            "two": on_two,
        }
        times = take_turns(turns, setting.size(9, 1))
        image = forward_flops(model, x)
        convolves = any(isinstance(module, nn.Conv2d) for module in model.modules())
        gain, shares = times["fp32"] / times["bf16"], times["fp32"] / times["two"]
        if convolves and image >= WORTH_NARROWING:
            narrowed.append(gain)
        if image * batch >= WORTH_SHARING:
            shared.append(shares)
        figures = {
            "MFLOP an image": image / 1e6,
            "MFLOP a batch": image * batch / 1e6,
            "fp32, ms": 1e3 * times["fp32"],
            "bf16, ms": 1e3 * times["bf16"],
            "bf16 faster, times": gain,
            "two threads faster, times": shares,
        }
        rows.append(Row(title, figures))
    bars = [
        Bar("where auto takes bf16 it is faster, times (the least)", min(narrowed), 1 / 1.03),
        Bar("where auto takes a second thread it is faster, times (the least)", min(shared), 1 / 1.03),
    ]
    return Result(f"What auto chooses by: a PGD-{STEPS} step", rows, bars)
