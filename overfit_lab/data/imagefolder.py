"""Images in folders, one folder a class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from overfit_lab.config import DataConfig, SplitsConfig
from overfit_lab.data.base import RawData, from_parts
from overfit_lab.data.encoded import Texts
from overfit_lab.data.roles import assign, is_byproduct, role_of
from overfit_lab.errors import DataUnavailableError
from overfit_lab.files.limits import IMAGE_BYTES
from overfit_lab.files.reading import cause, read_bytes

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".webp"}
POOL = "."
"""The name of the set's own folder, as a split."""


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
            return read_bytes(Path(self.location(i)), IMAGE_BYTES)
        except OSError as error:
            raise DataUnavailableError(f"{self.location(i)}: cannot be read ({cause(error)})") from error

    def location(self, i: int) -> str:
        """The file of image number i."""
        return f"{self.folder}/{self.names[i]}"

    def source(self, i: int) -> str:
        """The same below the set's folder."""
        return f"{Path(self.folder).name}/{self.names[i]}"

    def in_any_order(self) -> FolderImages:
        """Itself."""
        return self


def imagefolder(argument: str, *, root: Path | None, download: bool, config: DataConfig | None = None) -> RawData:
    """``imagefolder:DIR``: train/CLASS/*.png, and test/ and val/ beside it, else DIR/CLASS/*.png as one pool.

    Splits may go by other common names, such as Train, valid or dev; ``data.splits`` names them where they do not.
    """
    folder = Path(argument).expanduser()
    if not argument or not folder.is_dir():
        raise DataUnavailableError(f"imagefolder:{argument}: no such folder; expected imagefolder:DIR")
    return folders_of_classes(folder, f"imagefolder:{argument}", config)


def folders_of_classes(folder: Path, name: str, config: DataConfig | None = None) -> RawData:
    """The images of a folder; see :func:`imagefolder`. ``name`` names the set in messages."""
    below = subfolders(folder)
    splits = config.splits if config is not None else SplitsConfig()
    roles = {path: role_of(path) for path in below}
    assigned = assign({**roles, POOL: None}, splits, name)
    if "train" not in assigned:
        if assigned:
            other = next(iter(assigned.values()))[0]
            raise DataUnavailableError(
                f"{name}: has {other}/ and no train/; name the training split by data.splits.train= (. is {folder})"
            )
        assigned = {"train": (POOL,)}
    classes = tuple(sorted({cls for sub in assigned["train"] for cls in subfolders(folder / sub)}))
    if not classes:
        raise DataUnavailableError(f"{name}: {folder / assigned['train'][0]} has no folder of a class")
    used = {sub for subs in assigned.values() for sub in subs}
    unused = [sub for sub in below if sub not in used] if POOL not in used else []
    for sub in unused:
        if set(subfolders(folder / sub)) & set(classes):
            raise DataUnavailableError(
                f"{name}: {sub}/ holds folders of the same classes, and which split it is its name does not say; "
                "use data.splits.train=, .val= or .test="
            )
    parts, skipped = {}, Counter[str]()
    for role, subs in assigned.items():
        parts[role] = _part(folder, subs, classes, name, skipped)
    notes = (f"not used: {', '.join(f'{sub}/' for sub in unused)}",) if unused else ()
    if skipped:
        counts = ", ".join(f"{n} {suffix or 'without ending'}" for suffix, n in sorted(skipped.items()))
        notes = (*notes, f"passed over: {counts}")
    read_from = {
        role: ", ".join("the folder" if sub == POOL else f"{sub}/" for sub in s) for role, s in assigned.items()
    }
    return from_parts(parts, classes, read_from=read_from, notes=notes)


def _part(
    folder: Path, subs: tuple[str, ...], classes: tuple[str, ...], name: str, skipped: Counter[str]
) -> tuple[FolderImages, Tensor]:
    """The images of the folders of one split."""
    names: list[str] = []
    labels: list[Tensor] = []
    for sub in subs:
        stray = sorted(set(subfolders(folder / sub)) - set(classes))
        if stray:
            raise DataUnavailableError(f"{name}: {folder / sub} has a class that train has not, {stray[0]!r}")
        images, y = images_in(folder / sub, classes, skipped)
        names += [images.names[i] if len(subs) == 1 else f"{sub}/{images.names[i]}" for i in range(len(images))]
        labels.append(y)
    return FolderImages(folder / subs[0] if len(subs) == 1 else folder, names), torch.cat(labels)


def subfolders(base: Path) -> tuple[str, ...]:
    """The folders in a folder, in order of name; hidden ones and those that an archiver leaves are no classes."""
    return tuple(sorted(path.name for path in base.iterdir() if path.is_dir() and not is_byproduct(path.name)))


def images_in(
    folder: Path, classes: tuple[str, ...], skipped: Counter[str] | None = None
) -> tuple[FolderImages, Tensor]:
    """The image files below the folder of each class, in order of path, and their labels (n,).

    Args:
        skipped: counts the endings of files that are no images.

    Raises:
        DataUnavailableError: there is none.
    """
    names: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        files = [path for path in (folder / name).glob("**/*") if not path.is_dir()]
        files = [path for path in files if not any(map(is_byproduct, path.relative_to(folder).parts))]
        paths = sorted(path for path in files if path.suffix.lower() in SUFFIXES)
        if skipped is not None:
            skipped.update(path.suffix for path in files if path.suffix.lower() not in SUFFIXES)
        names += [str(path.relative_to(folder)) for path in paths]
        labels += [label] * len(paths)
    if not names:
        raise DataUnavailableError(f"{folder}: no image in it ({', '.join(sorted(SUFFIXES))})")
    return FolderImages(folder, names), torch.tensor(labels)


REGISTER = {"imagefolder": imagefolder}
