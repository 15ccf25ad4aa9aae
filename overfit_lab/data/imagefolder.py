"""Images in folders, one folder a class."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from overfit_lab.data.base import RawData, confusions_of, statistics_of
from overfit_lab.data.encoded import Texts
from overfit_lab.errors import DataUnavailableError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".webp"}


class FolderImages:
    """Images below a folder, one a file.

    Args:
        names: path of each file in it.
    """

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self.folder = str(folder)
        self.names = Texts(names)

    def __len__(self) -> int:
        return len(self.names)

    def read(self, i: int) -> bytes:
        """The file of image number i. Cost: opening a file and one read."""
        try:
            with open(self.location(i), "rb", buffering=0) as file:
                return file.read()
        except OSError as error:
            raise DataUnavailableError(f"{self.location(i)}: cannot be read ({error.strerror})") from error

    def location(self, i: int) -> str:
        """The file of image number i."""
        return f"{self.folder}/{self.names[i]}"

    def in_any_order(self) -> FolderImages:
        """Itself."""
        return self


def imagefolder(argument: str, *, root: Path | None, download: bool) -> RawData:
    """``imagefolder:DIR``: train/CLASS/*.png and test/CLASS/*.png (or val/), else DIR/CLASS/*.png as one pool."""
    folder = Path(argument).expanduser()
    if not argument or not folder.is_dir():
        raise DataUnavailableError(f"imagefolder:{argument}: no such folder; expected imagefolder:DIR")
    return folders_of_classes(folder, f"imagefolder:{argument}")


def folders_of_classes(folder: Path, name: str) -> RawData:
    """The images of a folder; see :func:`imagefolder`. ``name`` names the set in messages."""
    train = folder / "train"
    test = next((folder / part for part in ("test", "val") if (folder / part).is_dir()), None)
    pooled = not train.is_dir()
    base = folder if pooled else train
    classes = subfolders(base)
    if not classes:
        raise DataUnavailableError(f"{name}: {base} has no folder of a class")
    if test is not None and not pooled:
        stray = sorted(set(subfolders(test)) - set(classes))
        if stray:
            raise DataUnavailableError(f"{name}: {test} has a class that train has not, {stray[0]!r}")
    x_train, y_train = images_in(base, classes)
    x_test, y_test = (None, None) if pooled or test is None else images_in(test, classes)
    mean, std = statistics_of(classes, x_train)
    return RawData(x_train, y_train, x_test, y_test, classes, mean, std, confusions=confusions_of(classes))


def subfolders(base: Path) -> tuple[str, ...]:
    """The folders in a folder, in order of name; hidden ones are no classes."""
    return tuple(sorted(path.name for path in base.iterdir() if path.is_dir() and not path.name.startswith(".")))


def images_in(folder: Path, classes: tuple[str, ...]) -> tuple[FolderImages, Tensor]:
    """The image files below the folder of each class, in order of path, and their labels (n,).

    Raises:
        DataUnavailableError: there is none.
    """
    names: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        paths = sorted(path for path in (folder / name).glob("**/*") if path.suffix.lower() in SUFFIXES)
        names += [str(path.relative_to(folder)) for path in paths]
        labels += [label] * len(paths)
    if not names:
        raise DataUnavailableError(f"{folder}: no image in it ({', '.join(sorted(SUFFIXES))})")
    return FolderImages(folder, names), torch.tensor(labels)


REGISTER = {"imagefolder": imagefolder}
