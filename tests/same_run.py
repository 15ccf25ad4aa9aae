"""When two run folders hold the same run."""

import json

from overfit_lab.files.arrays import read_arrays
from overfit_lab.training.checkpoint import load_checkpoint


def rows(folder):
    """Every record but for the time that it took, as text."""
    found = []
    for line in (folder / "records.jsonl").read_text().splitlines():
        row = json.loads(line)
        row.pop("seconds")
        if not row["field"].startswith("seconds"):
            found.append(json.dumps(row, sort_keys=True))
    return found


def dynamics(folder):
    """What each file of dynamics holds, by its name."""
    return {path.name: path.read_bytes() for path in sorted((folder / "dynamics").glob("*"))}


def assert_same_run(a, b):
    """Records, arrays, dynamics, weights and configuration to the bit; times and machines may differ."""
    assert rows(a) == rows(b)
    assert (a / "config.yaml").read_bytes() == (b / "config.yaml").read_bytes()
    names = [sorted(path.name for path in (folder / "arrays").glob("*.npz")) for folder in (a, b)]
    assert names[0] == names[1]
    for name in names[0]:
        one, two = (read_arrays(folder / "arrays" / name) for folder in (a, b))
        assert one.keys() == two.keys()
        assert all((one[key] == two[key]).all() for key in one)
    assert dynamics(a) == dynamics(b)
    one, two = (load_checkpoint(folder / "checkpoints" / "last.safetensors") for folder in (a, b))
    assert one.model.keys() == two.model.keys()
    assert all((one.model[key] == two.model[key]).all() for key in one.model)
