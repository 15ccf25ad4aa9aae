"""The sink on the page docs/sinks.md works as it stands there."""

import importlib
import re
from pathlib import Path

from overfit_lab.records.reader import Run
from overfit_lab.training.run import train_run
from tiny import tiny_config

PAGE = Path(__file__).parents[3] / "docs" / "sinks.md"


def test_the_example_sink_mirrors_a_run_and_its_resumption(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    (tmp_path / "example_sink.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    folder = tmp_path / "run"
    config = tiny_config("hard", epochs=4, probes={}, evaluation={"n_steps": 1, "chunk": 24})
    notes = []
    train_run(config, folder, device="cpu", sinks=["example_sink:TextSink"], on_note=notes.append)
    (folder / "sinks.json").write_text('{"example_sink:TextSink": 2}')
    train_run(None, folder, resume=True, device="cpu", sinks=["example_sink:TextSink"], on_note=notes.append)
    assert notes == []
    lines = (folder / "robust.txt").read_text().splitlines()
    series = Run.open(folder).series("evaluation", "acc_adv", "test", "adversarial")
    assert lines == [f"{e} {v:.4f}" for e, v in zip(series["epoch"], series["value"], strict=True)]
