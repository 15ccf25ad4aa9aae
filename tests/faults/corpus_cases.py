"""Cases that once went wrong, each a file in corpus/, and how one is replayed."""

import json
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"


def replay(path, bases):
    """What is wrong with the case of a file, as one text; empty where nothing is."""
    from faults import configurations, folders

    if json.loads(path.read_text())["kind"] == "configuration":
        outcome = configurations.run_case(configurations.Case.read(path), bases["run"])
        return str(outcome) if outcome.problems else ""
    verdict = folders.run_case(folders.Case.read(path), bases)
    return "; ".join(f"{' '.join(arguments)}: {said}" for arguments, said in verdict.wrong)
