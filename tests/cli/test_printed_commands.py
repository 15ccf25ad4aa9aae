"""Commands that are printed can be pasted into a shell, whatever a folder is called."""

import shlex
from pathlib import Path

from overfit_lab.cli.devices import tell_end


def test_a_folder_with_blanks_and_quotes_is_one_word(capsys):
    folder = Path("runs/it's mine")
    tell_end("completed", folder)
    line = capsys.readouterr().out.splitlines()[-1]
    assert shlex.split(line.removeprefix("next: "))[3] == str(folder)
