"""``python -m overfit_lab``, which is what torchrun starts."""

from overfit_lab.cli.main import main

if __name__ == "__main__":
    main()
