"""From settings to images: the one door to all data. Next: archives.py (arrays), folder.py, parquet.py, tables.py."""

from collections.abc import Callable
from typing import Any

import torch

from deepcluster.data.contents import contents_of
from deepcluster.data.crops import square
from deepcluster.data.decode import to_channels
from deepcluster.data.images import ImageSet, MemoryImages, evenly_spaced
from deepcluster.data.reading_settings import Reading
from deepcluster.data.settings import Arrays, Folder, Huggingface, Litdata, Parquet, Source
from deepcluster.data.sources import archives
from deepcluster.data.sources.folder import load_folder
from deepcluster.data.sources.huggingface import load_huggingface
from deepcluster.data.sources.parquet import load_parquet
from deepcluster.data.sources.streamed import load_litdata

_N_LOOKED_AT = 2_000  # images of an array whose content is remembered: well-known sets do not change in parts
_ARRAYS: dict[str, Callable[[str | None, str], MemoryImages]] = {
    "fashion_mnist_mini": archives.fashion_mnist_mini,
    "fashion_mnist": archives.fashion_mnist,
    "cifar10": archives.cifar10,
    "cifar100": archives.cifar100,
    "svhn": archives.svhn,
    "stl10": archives.stl10,
}


def load(settings: Source, reading: Reading, split: str) -> ImageSet | None:
    """The images of a split.

    Args:
        settings: which source.
        reading: how it is read.
        split: "train" or "test".

    Returns:
        The set, in memory if it is small; None if the source has no test images.

    Raises:
        FileNotFoundError: if data.root is missing, empty, or a download fails.
        ValueError: if images are broken, or settings do not fit the data.
    """
    assert split in ("train", "test"), split
    return _LOADERS[type(settings)](settings, reading, split)


def load_array(settings: Arrays, reading: Reading, split: str) -> MemoryImages:
    """A set that comes as one array, with the limit, channels, stored size and labels of the settings."""
    data = _ARRAYS[settings.source](settings.root, split)
    chosen = evenly_spaced(len(data), settings.limit)
    images, labels = data.images, data.labels
    if len(chosen) < len(data):
        rows = torch.as_tensor(chosen)
        images, labels = images[rows], None if labels is None else labels[rows]
    if settings.n_channels is not None:
        images = torch.cat([to_channels(part, settings.n_channels) for part in torch.split(images, 4096)])
    side = reading.stored_size
    if side is not None and images.shape[2:] != (side, side):
        images = torch.cat([square(part, side, side) for part in torch.split(images, 4096)])
    looked_at = evenly_spaced(len(images), _N_LOOKED_AT)
    labelled = settings.labels == "auto"
    return MemoryImages(
        images=images,
        samples=[data.samples[i] for i in chosen],
        labels=labels if labelled else None,
        classes=data.classes if labelled else None,
        contents=contents_of(lambda i: images[i], looked_at),
    )


_LOADERS: dict[type[Source], Callable[[Any, Reading, str], ImageSet | None]] = {
    Arrays: load_array,
    Folder: load_folder,
    Parquet: load_parquet,
    Huggingface: load_huggingface,
    Litdata: load_litdata,
}
