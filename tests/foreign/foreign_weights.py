"""Weights files as other tools write them, for ``--model`` and ``--data``."""

import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from foreign.foreign_case import Case
from overfit_lab.config import RunConfig, apply_overrides
from overfit_lab.data.dataset import dataset_from_arrays
from overfit_lab.models.factory import build_model
from overfit_lab.models.weights import load_into, read_weights
from overfit_lab.training.complete import complete
from strangers import images, randomised

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NET = "foreign.foreign_weights:net"


def net(n_classes=4):
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(900, n_classes))


def stranger(seed=0):
    return randomised(net(), seed)


def torchvisions():
    from torchvision import models

    return randomised(models.get_model("shufflenet_v2_x0_5", weights=None, num_classes=4))


def built(name, *assignments):
    x = (images(8) * 255).round().to(torch.uint8)
    data = dataset_from_arrays((x, torch.arange(8) % 4), mean=MEAN, std=STD)
    config = apply_overrides(RunConfig(), [f"model.name={name}", *assignments])
    return build_model(complete(config).model, data, torch.device("cpu"), seed=1).eval()


def reading(save, expected=stranger, model=NET, file="w.pth", normalize=False, settings=()):
    """A run that saves weights and reads them: the network built by name gives the logits of the one that was saved.

    Args:
        expected: the network whose logits they are.
        normalize: whether its images are normalised outside.
        settings: what is said at the first try too.
    """

    def run(folder, option):
        save(folder / file, **({"again": True} if option.startswith("torch.save") else {}))
        key = option.removeprefix("--weights ") if option.startswith("--weights") else None
        own = built(model, *settings, *([option] if option.startswith("model.") else []))
        load_into(own, read_weights(folder / file, key)[0])
        x = images()
        seen = (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1) if normalize else x
        with torch.no_grad():
            torch.testing.assert_close(own(x), expected().eval()(seen), atol=1e-5, rtol=1e-5)

    return run


def saving(content):
    return lambda path: torch.save(content(), path)


def with_nan():
    state = {name: tensor.clone() for name, tensor in stranger().state_dict().items()}
    state["4.bias"][1] = float("nan")
    return state


def checkpoint(network):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    return {"epoch": 3, "state_dict": network.state_dict(), "optimizer": optimizer.state_dict(), "best_acc": 0.5}


def averaged():
    return {**checkpoint(stranger()), "swa_state_dict": AveragedModel(stranger(1)).state_dict()}


class Outside(nn.Module):
    """Normalisation in front, as RobustBench and MAIR have it."""

    def __init__(self, network):
        super().__init__()
        self.register_buffer("mu", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("sigma", torch.tensor(STD).view(1, 3, 1, 1))
        self.net = network


def lightning_module():
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net, self.loss = stranger(), nn.CrossEntropyLoss(weight=torch.ones(4))

    return Module()


def lightning_checkpoint(path):
    import lightning

    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    trainer.strategy.connect(lightning_module())
    trainer.save_checkpoint(path)


def vit():
    from transformers import ViTConfig, ViTForImageClassification

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ViTForImageClassification(ViTConfig(image_size=32, patch_size=8, num_labels=4, **sizes)).eval()


class Logits(nn.Module):
    """A network of transformers that gives logits alone."""

    def __init__(self, n_classes=4):
        super().__init__()
        self.model = vit()

    def forward(self, x):
        return self.model(pixel_values=x).logits


def pretrained(path, again=False):
    vit().save_pretrained(path.parent)
    if again:
        save_file(type(vit()).from_pretrained(path.parent).state_dict(), path)


def scripted(path):
    torch.jit.save(torch.jit.script(stranger()), str(path))


def text(content):
    return lambda path: path.write_text(content)


LOGITS = "foreign.foreign_weights:Logits"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 44730041\n"
PAGE = "<!DOCTYPE html><html><head><title>Drive - virus scan warning</title></head></html>"
WEIGHTS = [
    Case("a state dict", "`torch.save`", reading(saving(lambda: stranger().state_dict()))),
    Case(
        "a state dict",
        "`safetensors`",
        reading(lambda path: save_file(stranger().state_dict(), path), file="w.safetensors"),
    ),
    Case(
        "a checkpoint with optimiser, epoch and accuracy",
        "`torch.save`",
        reading(saving(lambda: checkpoint(stranger()))),
    ),
    Case("names with `module.`", "DataParallel", reading(saving(lambda: nn.DataParallel(stranger()).state_dict()))),
    Case(
        "names with `_orig_mod.`",
        "`torch.compile`",
        reading(saving(lambda: torch.compile(stranger(), backend="eager").state_dict())),
    ),
    Case(
        "a classifier, `--model torchvision:NAME`",
        "torchvision",
        held_by="tests/models/test_libraries.py::test_torchvisions_own_files_give_torchvisions_logits",
    ),
    Case(
        "Rice et al., TRADES, RobustBench, PyHessian and others ([all](checkpoints.md))",
        "their own networks",
        held_by="tests/models/test_strangers.py::test_logits_are_the_strangers",
    ),
    Case(
        "`rmodel` with `n_classes` and `model.0.mean`",
        "MAIR",
        held_by="tests/models/test_weights_from_elsewhere.py::test_a_model_of_mair",
    ),
    Case(
        "a network behind layers without weights",
        "`nn.Sequential(norm, net)`",
        reading(saving(lambda: nn.Sequential(nn.Identity(), stranger()).state_dict())),
    ),
    Case(
        "`mu` and `sigma` beside the weights",
        "RobustBench",
        reading(saving(lambda: Outside(stranger()).state_dict()), normalize=True),
    ),
    Case(
        "averaged weights beside the raw ones",
        "`torch.optim.swa_utils`",
        reading(saving(averaged), lambda: stranger(1)),
        option="--weights swa_state_dict",
        otherwise="the raw weights, and a line names the others",
    ),
    Case(
        "averaged weights alone",
        "`torch.optim.swa_utils`",
        reading(saving(lambda: {"swa_state_dict": AveragedModel(stranger(1)).state_dict()}), lambda: stranger(1)),
    ),
    Case(
        "a checkpoint",
        "Lightning, `save_checkpoint`",
        reading(lightning_checkpoint, file="w.ckpt"),
        needs=("lightning",),
    ),
    Case(
        "an image classifier's state dict, `--model package.module:Network`",
        "transformers",
        reading(saving(lambda: vit().state_dict()), Logits, LOGITS),
        needs=("transformers",),
    ),
    Case(
        "its `model.safetensors`, whose names are those of older versions",
        "transformers, `save_pretrained`",
        reading(pretrained, Logits, LOGITS, "model.safetensors"),
        option="torch.save(Network.from_pretrained(DIR).state_dict(), FILE)",
        refused="the weights do not fit the model: missing ...",
        needs=("transformers>=5",),
    ),
    Case(
        "images normalised with other constants than the set's",
        "any loop",
        reading(saving(lambda: stranger().state_dict()), lambda: Shifted(stranger())),
        option="model.normalize=0.5/0.25",
        otherwise="normalised by the set's own",
    ),
    Case(
        "a whole network",
        "`torch.save(model)`",
        reading(saving(stranger)),
        refused="DIR/w.pth: refused, it holds objects other than tensors and plain containers, which could run code "
        "on loading; save its state_dict alone",
    ),
    Case(
        "a TorchScript archive",
        "`torch.jit.save`",
        reading(scripted),
        refused="DIR/w.pth: refused, a TorchScript archive holds code; save its state_dict",
    ),
    Case(
        "weights that diverged",
        "`torch.save`",
        reading(saving(with_nan)),
        refused="the weights are not finite: 1 of 9 tensors, the first is 4.bias (1 of its 4 numbers); take a "
        "checkpoint from before the training diverged",
    ),
    Case(
        "a pointer",
        "Git LFS",
        reading(text(POINTER)),
        refused="DIR/w.pth: a Git LFS pointer, not the file itself; fetch it by `git lfs pull`",
    ),
    Case(
        "a web page",
        "a download that asked for a confirmation",
        reading(text(PAGE)),
        refused="DIR/w.pth: a web page, not weights; download the file that its address leads to",
    ),
    Case(
        "an optimiser alone",
        "`torch.save`",
        reading(saving(lambda: {"optimizer": {"lr": 0.1}, "epoch": 3})),
        refused="DIR/w.pth: holds no state dict (names to tensors)",
    ),
    Case(
        "another network's state dict",
        "torchvision",
        reading(saving(lambda: torchvisions().state_dict())),
        refused="the weights do not fit the model: missing 0.weight, 0.bias, 1.weight and 5 more; unexpected ...",
    ),
    Case(
        "constants in units of 0 to 255",
        "any loop",
        reading(saving(lambda: stranger().state_dict()), settings=["model.normalize=125.3,123,113.9/63,62.1,66.7"]),
        refused="normalisation by mean 125.3,123,113.9 and std 63,62.1,66.7: expected those of pixels in [0, 1], "
        "means within [-1, 1] and standard deviations above 0 and at most 1; divided by 255 they are "
        "0.4914,0.4824,0.4467/0.2471,0.2435,0.2616",
    ),
]


class Shifted(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network((x - 0.5) / 0.25)
