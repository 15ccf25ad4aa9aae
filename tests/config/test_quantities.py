"""Sizes, times and shares as text: every place that reads one takes the same spellings as the same number."""

import pytest

from overfit_lab.config import parse_config, parse_share, parse_size, parse_time
from overfit_lab.errors import ConfigError
from overfit_lab.sweeps.spec import Resources, parse_spec
from overfit_lab.training.budget import parse_budget

SIZES = {
    "8GB": 8 * 10**9,
    "8G": 8 * 10**9,
    "8 gb": 8 * 10**9,
    "1.5 MB": 1_500_000,
    "512MiB": 2**29,
    "512Mi": 2**29,
    "2kib": 2048,
    ".5k": 500,
    "3TB": 3 * 10**12,
    "100B": 100,
    " 2. kB ": 2000,
    "1.1GiB": int(1.1 * 2**30),
}
NO_SIZES = [
    "512",
    512,
    0.5,
    "much",
    "0GB",
    "-1GB",
    "",
    "GB",
    "5iB",
    "1e3B",
    "8 G B",
    "8PB",
    "30s",
    "5%",
    True,
    "inf GB",
]
TIMES = {
    "30s": 30,
    "2m": 120,
    "2 min": 120,
    "1d": 86400,
    ".5h": 1800,
    " 1.5 M ": 90,
    "2 H": 7200,
    "1:30:00": 5400,
    "1:30": 5400,
    "2-12:00:00": 216000,
    "00:00:01": 1,
}
NO_TIMES = ["90", 90, 1.5, "soon", "0s", "-3s", "", "s", "1:60:00", "0:00:00", "5 minutes ago", "8GB", True, "nan s"]
SHARES = {"5%": 0.05, " 5 % ": 0.05, "0.05": 0.05, ".05": 0.05, "100%": 1.0, "2.5%": 0.025, 0.05: 0.05}
NO_SHARES = ["5", 5, 1, "1", "0%", "0", "101%", "-5%", "5 percent", "", "nan%", "1e1%", True, "8GB"]


def refused(read, value):
    with pytest.raises((ConfigError, ValueError)) as caught:
        read(value)
    line = str(caught.value)
    assert "expected a" in line
    assert repr(value) in line
    assert line.count(f"{value!r}: ") <= 1
    return "\n" not in line


def of_config(group, key, parse):
    def read(value):
        config = parse_config({group: {key: value}})
        return parse(getattr(getattr(config, group), key))

    return read


def of_sweep(key, parse):
    def read(value):
        return parse(getattr(parse_spec({"base": "x", "resources": {key: value}}, "sweep.yaml").resources, key))

    return read


def of_budget(field):
    def read(value):
        return getattr(parse_budget(value if isinstance(value, str) else repr(value)), field)

    return read


SIZE_PLACES = {
    "itself": parse_size,
    "data.memory_limit": of_config("data", "memory_limit", parse_size),
    "compute.label_memory_limit": of_config("compute", "label_memory_limit", parse_size),
    "resources.memory": of_sweep("memory", parse_size),
}
TIME_PLACES = {"itself": parse_time, "resources.time": of_sweep("time", parse_time), "--budget": of_budget("absolute")}
SHARE_PLACES = {
    "itself": parse_share,
    "probes.budget": of_config("probes", "budget", parse_share),
    "--budget": of_budget("share"),
}


def sayable(place, values):
    """Those that can be given there: an option of a command is text."""
    return [value for value in values if isinstance(value, str) or place != "--budget"]


@pytest.mark.parametrize("place", SIZE_PLACES)
def test_sizes(place):
    assert {text: SIZE_PLACES[place](text) for text in SIZES} == SIZES
    assert all(refused(SIZE_PLACES[place], wrong) for wrong in NO_SIZES)


@pytest.mark.parametrize("place", TIME_PLACES)
def test_times(place):
    assert {text: TIME_PLACES[place](text) for text in TIMES} == TIMES
    assert all(refused(TIME_PLACES[place], wrong) for wrong in sayable(place, NO_TIMES))


@pytest.mark.parametrize("place", SHARE_PLACES)
def test_shares(place):
    assert {text: SHARE_PLACES[place](text) for text in SHARES} == pytest.approx(SHARES)
    assert all(refused(SHARE_PLACES[place], wrong) for wrong in sayable(place, NO_SHARES))


def test_they_are_kept_as_they_were_written():
    assert parse_config({"data": {"memory_limit": "8 gb"}}).data.memory_limit == "8 gb"
    resources = Resources(memory="1.5 GiB", time="1-02:30:00")
    assert (resources.memory_bytes, resources.minutes) == (1610612736, 24 * 60 + 150)
    assert [Resources(time=text).minutes for text in ("61 s", "0.5h", "7m", "00:00:01")] == [2, 30, 7, 1]
