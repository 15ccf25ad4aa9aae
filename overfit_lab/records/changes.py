"""A run that is gone on with and measured by other probes."""

from __future__ import annotations

from overfit_lab.config import ProbesConfig, load_config, to_yaml
from overfit_lab.records import layout
from overfit_lab.records.files import write_bytes
from overfit_lab.records.writer import RunWriter

KEY = "probes_changed"
"""In run.json: each change with the epoch from which it holds, and the probes before and after it."""
CHOSEN = ("probe_sizes", "probe_budget")
"""What was chosen for the probes before."""


def change_probes(writer: RunWriter, probes: ProbesConfig, epoch: int) -> None:
    """Write the probes with which a run goes on from an epoch, where they are others, to config.yaml and run.json."""
    path = layout.config_path(writer.folder)
    recorded = load_config(path)
    if recorded.probes == probes:
        return
    info = layout.read_info(writer.folder)
    earlier = [change for change in info.get(KEY, []) if change["epoch"] <= epoch]
    before, now = (part.model_dump(mode="json", exclude_defaults=True) for part in (recorded.probes, probes))
    info = {key: value for key, value in info.items() if key not in CHOSEN}
    writer.replace_info({**info, KEY: [*earlier, {"epoch": epoch, "before": before, "now": now}]})
    write_bytes(path, to_yaml(recorded.model_copy(update={"probes": probes})).encode())
