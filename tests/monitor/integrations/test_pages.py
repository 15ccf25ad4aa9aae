"""The three lines of the page on the monitor, run as they stand there."""

import re
from pathlib import Path

import pytest
import torch
from torch.nn import functional
from trainers import EPOCHS, as_floats, digits, net

from overfit_lab.records.reader import Run

PAGE = Path(__file__).parents[3] / "docs" / "monitor.md"
PROBES = {"gradient-norm", "iiw", "calibration", "evaluation"}


def block(word):
    (code,) = [code for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S) if word in code]
    return compile(code, "monitor.md", "exec")


@pytest.fixture
def names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train, test = (as_floats(pair) for pair in digits())
    loader = torch.utils.data.DataLoader(train, batch_size=50)
    return {"train_set": train, "test_set": test, "loader": loader, "n_epochs": EPOCHS}


def test_plain_and_resumed(names):
    model = net()
    names |= {"model": model, "functional": functional, "optimizer": torch.optim.SGD(model.parameters(), lr=0.1)}
    exec(block("for epoch in"), names)
    names["monitor"].close()
    assert set(Run.open("runs/mine").records["probe"]) >= PROBES
    state = names["monitor"].state_dict()
    names |= {"checkpoint": {"monitor": state}}
    before = names.pop("monitor")
    exec(block("resume=True"), names)
    assert names["monitor"] is not before
    assert len(names["monitor"].records) == len(state["records"])
    names["monitor"].close()


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning")
def test_lightning(names):
    pytest.importorskip("lightning", reason="lightning is not installed: pip install 'overfit-lab[lightning]'")
    import lightning.pytorch as lightning

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = net()

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, _):
            return functional.cross_entropy(self(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    settings = {"max_epochs": 2, "accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    settings |= {"enable_progress_bar": False, "enable_model_summary": False}
    exec(block("lightning.Trainer"), names | {"lightning": lightning, "module": Module(), "settings": settings})
    assert set(Run.open("runs/lit").records["probe"]) >= PROBES


def test_transformers(names, tmp_path):
    reason = "transformers is not installed: pip install 'overfit-lab[transformers]'"
    transformers = pytest.importorskip("transformers", reason=reason)
    pytest.importorskip("accelerate", reason=reason)
    from test_transformers import Items, Small

    args = transformers.TrainingArguments(
        str(tmp_path), num_train_epochs=1, use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True,
        dataloader_pin_memory=False, remove_unused_columns=False,
    )  # fmt: skip
    train, test = (Items(pair) for pair in digits())
    names |= {"train_set": train, "test_set": test, "transformers": transformers, "model": Small(), "args": args}
    exec(block("transformers.Trainer("), names)
    assert set(Run.open("runs/hf").records["probe"]) >= PROBES
