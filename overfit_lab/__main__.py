"""``python -m overfit_lab``, which is what torchrun starts."""

import os
import sys

if not sys.flags.safe_path and sys.path and sys.path[0] in ("", os.getcwd()):
    del sys.path[0]  # put there by `python -m`: no file beside a run is code, see overfit_lab.config.permission

from overfit_lab.cli.main import main

if __name__ == "__main__":
    main()
