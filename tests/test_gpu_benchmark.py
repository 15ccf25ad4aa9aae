"""The command for some minutes on a GPU, in miniature on the CPU; and its watch over what fails or takes too long."""

import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import gpu  # noqa: E402
from watched import Job, Results, Worker, do_all  # noqa: E402

from overfit_lab.config.catalog import PROBES  # noqa: E402
from overfit_lab.config.recipes import RECIPES  # noqa: E402

COMMAND = [sys.executable, "-W", "ignore", str(BENCHMARKS / "gpu.py")]


def asked(*more):
    return gpu.parse(["--minutes", "15", "--out", "somewhere", *more])


def run(out, *more):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*COMMAND, "--dry-run", "--out", str(out), *more]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280)


def result(out, name):
    return json.loads((out / "results" / f"{name}.json").read_text())


@pytest.mark.slow
def test_a_dry_run_writes_each_result_and_an_archive(tmp_path):
    few = ("--recipes", "digits-hard,paper-cifar10-sglr,imagenet-te", "--probes", "calibration", "--parts", "smoke")
    done = run(tmp_path / "out", "--minutes", "1.5", *few)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    ways = [f"smoke-compute-{way}" for way in ("eager", "graph", "compiled", "compiled-graph")]
    recipes = [f"smoke-recipe-{name}" for name in ("digits-hard", "paper-cifar10-sglr", "imagenet-te")]
    plain = ["device", "smoke-resume", *ways[:2], "smoke-probe-calibration", *recipes]
    assert list(summary["statuses"]) == ["device", "smoke-resume", *ways, "smoke-probe-calibration", *recipes]
    assert all(summary["statuses"][name] == "ok" for name in plain), summary["errors"]
    assert result(tmp_path / "out", "smoke-resume")["result"]["largest_relative_difference"] == 0
    fallback = result(tmp_path / "out", "smoke-compute-graph")["result"]["compute"]["fallback"]
    assert fallback == "attack not captured: graphs are CUDA's, and the run is not on CUDA"
    with tarfile.open(tmp_path / "out" / "results.tar.gz") as tar:
        names = tar.getnames()
    assert {"summary.json", "results/smoke-resume.json", "runs/short/whole/records.jsonl"} <= set(names)
    assert not any("checkpoints" in name for name in names)


@pytest.mark.skipif("OVERFIT_LAB_GPU_DRY_RUN" not in os.environ, reason="two minutes; make gpu-dry-run")
def test_the_whole_in_miniature(tmp_path):
    done = run(tmp_path / "out", "--minutes", "4")
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert {f"smoke-recipe-{name}" for name in RECIPES} <= set(summary["statuses"])
    assert {f"smoke-probe-{name}" for name in PROBES} <= set(summary["statuses"])
    assert set(summary["errors"]) <= {name for name, status in summary["statuses"].items() if status == "skipped"}
    assert len(summary["table"]) == 2 * 4
    assert all(row["share_of_rate"] > 0 for row in summary["table"] if row["status"] == "ok")
    for name in ("hard", "sglr"):
        trained = result(tmp_path / "out", f"train-{name}")["result"]
        assert trained["status"] == "completed"
        assert trained["epochs_done"] == trained["epochs"] == 4


def test_every_recipe_probe_and_way_has_its_job_in_the_order_of_worth():
    names = [job.name for job in gpu.smoke(asked())]
    assert names[0] == "smoke-resume"
    assert {f"smoke-recipe-{name}" for name in RECIPES} <= set(names)
    assert {f"smoke-probe-{name}" for name in PROBES} <= set(names)
    assert len(names) == len(set(names))
    jobs = gpu.table(asked())
    kinds = [job.name.split("-") for job in jobs]
    assert [kind[1] for kind in kinds[:3]] == ["rate"] * 3
    measured = {tuple(kind[1:3]) for kind in kinds[3:]}
    assert measured == {(p, b) for p in ("bf16", "tf32", "fp32") for b in ("128", "512")}
    assert len(jobs) == 3 + 6 * (4 + 2)
    compiles = [bool(job.arguments.get("compiled")) for job in jobs]
    assert compiles == sorted(compiles)


def test_what_fails_dies_or_hangs_costs_its_own_result_alone(tmp_path):
    jobs = [
        Job("fails", "json:loads", {"s": "{"}),
        Job("dies", "os:_exit", {"status": 3}),
        Job("lacks", "no_such_package:f"),
        Job("hangs", "subprocess:check_output", {"args": ["sleep", "60"]}, limit=1.5),
    ]
    results, worker = Results(tmp_path), Worker()
    began = time.monotonic()
    try:
        do_all([*jobs, Job("works", "json:loads", {"s": "[5]"})], [worker], results, began + 60)
        do_all([Job("too late", "json:loads", {"s": "[5]"})], [worker], results, time.monotonic())
    finally:
        worker.leave()
    assert time.monotonic() - began < 40
    errors = {name: (content["status"], content.get("error", "")) for name, content in results.all.items()}
    assert errors["fails"][1].startswith("JSONDecodeError")
    assert "loads" in results.all["fails"]["traceback"]
    assert errors["dies"] == ("failed", "the process died (exit status 3)")
    assert errors["lacks"] == ("skipped", "no_such_package is not installed")
    assert errors["hangs"] == ("failed", "was ended: took more than 2 s")
    assert errors["works"] == ("ok", "")
    assert results.value("works") == [5]
    assert errors["too late"] == ("skipped", "no time was left")
    assert sorted(path.stem for path in tmp_path.glob("*.json")) == sorted(results.all)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--parts", "smok"), "part 'smok': expected some of smoke, table, hard, sglr"),
        (("--recipes", "nothing"), "recipe 'nothing': expected some of"),
        (("--probes", "nothing"), "probe 'nothing': expected some of"),
        (("--minutes", "0"), "--minutes 0: expected more than 0"),
        (("--data", "nowhere"), "--data nowhere: no such folder; expected train-*.parquet in it"),
    ],
)
def test_a_wrong_argument_is_refused_in_a_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        asked(*arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_the_table_has_shares_of_the_rate_and_keeps_errors(tmp_path):
    results = Results(tmp_path)
    results.add("table-rate-bf16", {"status": "ok", "result": {"gflops": 100.0}})
    results.add("table-bf16-128-graph", {"status": "ok", "result": {"gflops": 25.0}})
    results.add("table-bf16-128-torchattacks", {"status": "skipped", "error": "torchattacks is not installed"})
    assert gpu.rows(results) == [
        {"precision": "bf16", "batch": 128, "way": "graph", "status": "ok", "share_of_rate": 0.25, "gflops": 25.0},
        {
            "precision": "bf16",
            "batch": 128,
            "way": "torchattacks",
            "status": "skipped",
            "error": "torchattacks is not installed",
        },
    ]
