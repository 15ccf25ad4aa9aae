"""The counts of outcomes over networks drawn at random, at the end of the tests."""

from collections import Counter


def pytest_terminal_summary(terminalreporter):
    counts = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            counts += Counter(dict(getattr(report, "user_properties", ())).get("random networks", {}))
    if counts:
        terminalreporter.write_line(
            "probes on random networks: " + ", ".join(f"{n} {name}" for name, n in sorted(counts.items()))
        )
