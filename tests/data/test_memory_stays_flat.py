"""Memory while a set is streamed that is larger than its limit."""

import numpy as np
import pytest

from grown_memory import grown_memory, needs_proc
from image_sets import encoded, write_shard

N, SIDE = 8200, 128
LIMIT = 100
"""Megabytes; the decoded set has 403."""

EPOCH = """
import torch
from overfit_lab.training.parts import build_loader
from overfit_lab.config import parse_config
from overfit_lab.data.dataset import load_dataset
from overfit_lab.data.streamed import StreamedImages

data = {"name": f"webdataset:{sys.argv[1]}", "n_test": 200, "augment": ["crop", "flip"], "workers": 2}
limited = {"stream": sys.argv[2] == "streamed", "memory_limit": None}
if sys.argv[2] == "auto":
    limited = {"memory_limit": f"{sys.argv[3]}MB"}
config = parse_config({"batch_size": 32, "data": {**data, **limited}})
tiny = {**data, "n_train": 64, "stream": True}
next(build_loader(config, load_dataset(config.data.model_copy(update=tiny), 0, "cpu")).epoch(0))
with Most():
    loaded = load_dataset(config.data, 0, "cpu")
    assert isinstance(loaded.splits["train"].x, StreamedImages) == (sys.argv[2] != "decoded")
    n = sum(len(batch.y) for batch in build_loader(config, loaded).epoch(0))
    assert n == 8000
"""


@pytest.mark.slow
@needs_proc
def test_memory_stays_flat_over_a_set_beyond_the_limit(tmp_path, monkeypatch):
    """An epoch of 400 MB of decoded images in less than 100 MB; kept decoded they take their 400."""
    monkeypatch.setenv("OVERFIT_LAB_CACHE", str(tmp_path / "cache"))
    colours = np.random.default_rng(0).integers(0, 256, (64, 1, 1, 3), dtype=np.uint8)
    kinds = [encoded(np.broadcast_to(colour, (SIDE, SIDE, 3)).copy(), "JPEG") for colour in colours]
    folder = tmp_path / "set"
    for shard in range(2):
        members = range(shard * N // 2, (shard + 1) * N // 2)
        write_shard(
            folder / f"train-{shard}.tar",
            [kinds[i % 64] for i in members],
            [i % 10 for i in members],
            "jpg",
            members[0],
        )
    assert grown_memory(EPOCH, folder, "auto", LIMIT) < LIMIT
    assert grown_memory(EPOCH, folder, "decoded", LIMIT) > 380
