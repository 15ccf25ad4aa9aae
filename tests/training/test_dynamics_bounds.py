"""What per-sample dynamics of 50,000 samples take: bytes on disk, memory and time a step."""

from grown_memory import grown_memory, needs_proc
from overfit_lab.files.columns import HEADER
from overfit_lab.records.dynamics import columns_of, form_of

N, CLASSES, EPOCHS = 50_000, 10, 200
FEW = 4
RECORD = """
import torch
from pathlib import Path
from overfit_lab.processes.share import Share
from overfit_lab.records.dynamics_writer import DynamicsWriter
from overfit_lab.training.dynamics import Dynamics
from overfit_lab.types import Batch, Outputs

torch.manual_seed(0)
torch.set_num_threads(1)
n, classes, epochs, keep, folder = *map(int, sys.argv[1:4]), sys.argv[4], Path(sys.argv[5])
y, order, logits = torch.arange(n) % classes, torch.randperm(n), torch.randn(128, classes)
writer = DynamicsWriter(folder, keep)
torch.log_softmax(logits, 1).exp()
with Most():
    dynamics = Dynamics(n, y.device)
    for epoch in range(1, epochs + 1):
        for index in order.split(128):
            dynamics.take_step(Batch(index, y[index], index), Outputs(adv=logits[: len(index)]), Share(len(index)))
        dynamics.end_epoch(epoch, writer.write)
"""


@needs_proc
def test_disk_and_memory(tmp_path):
    """Of the first epochs; each further one adds a block of the same length, and nothing in memory."""
    grown = grown_memory(RECORD, N, CLASSES, FEW, "full", tmp_path)
    assert grown < 10
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "dynamics").iterdir()}
    block = (sizes["train-adversarial.columns"] - HEADER) / FEW
    assert block == block_of("full", N)
    assert HEADER + EPOCHS * block + sizes["train-adversarial-running.columns"] < 100e6


def block_of(level, n):
    return form_of(n, CLASSES, columns_of(level, CLASSES), "clean").block


def test_a_committed_run_takes_a_megabyte():
    assert HEADER + 50 * block_of("compact", 10_000) < 2**20
    assert HEADER + EPOCHS * block_of("compact", N) < 21e6
