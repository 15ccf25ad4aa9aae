"""ImageNet-1k (Russakovsky et al. 2015, arXiv 1409.0575) in folders of classes or in WebDataset shards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from overfit_lab.config import DataConfig
from overfit_lab.data.base import RawData
from overfit_lab.data.imagefolder import folders_of_classes
from overfit_lab.data.roles import files_by_split
from overfit_lab.data.torchvision_sets import default_root
from overfit_lab.data.webdataset import read_shards
from overfit_lab.errors import ConfigError, DataUnavailableError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def imagenet(argument: str, *, root: Path | None, download: bool, config: DataConfig | None = None) -> RawData:
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
    config = config if config is not None else DataConfig()
    try:
        files = files_by_split(folder, ".tar", config.splits, "imagenet")
    except ConfigError:  # a split that is named is a folder
        files = None
    if files is not None and "train" in files.paths:
        raw = read_shards(files, folder, config)
    else:
        raw = folders_of_classes(folder, "imagenet", config)
    return replace(raw, mean=MEAN, std=STD)


REGISTER = {"imagenet": imagenet}
