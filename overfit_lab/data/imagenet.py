"""ImageNet-1k (Russakovsky et al. 2015, arXiv 1409.0575) in folders of classes or in WebDataset shards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from overfit_lab.data.base import RawData
from overfit_lab.data.imagefolder import folders_of_classes
from overfit_lab.data.torchvision_sets import default_root
from overfit_lab.data.webdataset import read_shards, shards_in
from overfit_lab.errors import DataUnavailableError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def imagenet(argument: str, *, root: Path | None, download: bool) -> RawData:
    """``imagenet:DIR``: train/WNID/*.JPEG and val/WNID/*.JPEG, or shards train-*.tar and val-*.tar.

    Without DIR it is ``imagenet`` in ``data.root``. The validation images are the test split. Images have different
    sizes: ``data.image_size`` is needed.
    """
    folder = Path(argument).expanduser() if argument else (root if root is not None else default_root()) / "imagenet"
    if not folder.is_dir():
        raise DataUnavailableError(
            f"imagenet: no folder {folder}; give imagenet:DIR with train/WNID/*.JPEG and val/WNID/*.JPEG, or with "
            "shards train-*.tar and val-*.tar (docs/streaming.md says how they are made)"
        )
    train = shards_in(folder, ("train",))
    test = shards_in(folder, ("val", "validation", "test"))
    raw = read_shards(train, test, folder) if train else folders_of_classes(folder, "imagenet")
    return replace(raw, mean=MEAN, std=STD)


REGISTER = {"imagenet": imagenet}
