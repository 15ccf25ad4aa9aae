"""What the tests of the Trainer of transformers share; they are skipped where it is not installed."""

import pytest
import torch
from torch.nn import functional
from trainers import BATCH, net

transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed: pip install 'overfit-lab[transformers]'"
)
pytest.importorskip("accelerate", reason="accelerate is not installed: pip install 'overfit-lab[transformers]'")


def vit():
    """A vision transformer of some 3,000 parameters; its attention is PyTorch's fused one."""
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=8,
        patch_size=4,
        num_channels=1,
        num_labels=10,
        hidden_dropout_prob=0.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.ViTForImageClassification(config)


class Small(torch.nn.Module):
    """A stranger's network, also one that casts inside as mixed precision does; a plain dictionary comes back.

    The resume test takes it since transformers 5.23 does not load a checkpoint of its own ViT back under the Trainer.
    """

    def __init__(self, inside=False):
        super().__init__()
        self.net, self.inside = net(), inside

    def forward(self, pixel_values, labels=None):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.inside):
            logits = self.net(pixel_values.to(self.net[1].weight.dtype))
        return {"loss": None if labels is None else functional.cross_entropy(logits.float(), labels), "logits": logits}


class Items(torch.utils.data.Dataset):
    def __init__(self, pair, n=None):
        self.x, self.y = pair[0][:n], pair[1][:n]

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return {"pixel_values": self.x[i].float() / 255, "labels": int(self.y[i])}


def arguments(folder, **settings):
    """Of plain SGD without clipping, on the CPU, that writes nothing of itself."""
    settings = {"max_grad_norm": 0.0, "save_strategy": "no", **settings}
    return transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=BATCH,
        lr_scheduler_type="constant",
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        logging_strategy="no",
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        optim="sgd",
        **settings,
    )
