"""``python -m overfit_lab``, which is what torchrun starts."""

import os
import sys
from contextlib import suppress

here = ""
with suppress(OSError):  # a current folder that is not there any more: main says so
    here = os.getcwd()
if not sys.flags.safe_path and sys.path and sys.path[0] in ("", here):
    del sys.path[0]  # put there by `python -m`: no file beside a run is code, see overfit_lab.config.permission

from overfit_lab.cli.main import main  # noqa: E402 (the path first)

if __name__ == "__main__":
    main()
