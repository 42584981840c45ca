"""Sets that come as one array: the shipped subset, Fashion-MNIST's files, torchvision's. Next: images.py."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets

from deepcluster.data.images import MemoryImages

ASSET = Path(__file__).parent / "assets" / "fashion_mnist_mini.npz"
FASHION_CLASSES = [
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
]  # fmt: skip
_IDX_NAMES = {"train": "train", "test": "t10k"}


def fashion_mnist_mini(root: str | None, split: str) -> MemoryImages:
    """The shipped subset: the first 500 training and 100 test images per class, with original numbers."""
    with np.load(ASSET) as arrays:
        images, labels, numbers = (arrays[f"{split}_{part}"] for part in ("images", "labels", "numbers"))
    return MemoryImages(
        images=torch.from_numpy(images)[:, None],
        labels=torch.from_numpy(labels.astype(np.int64)),
        classes=list(FASHION_CLASSES),
        samples=[f"{split}/{number}" for number in numbers],
    )


def fashion_mnist(root: str | None, split: str) -> MemoryImages:
    """Fashion-MNIST from its idx files, packed or not, in data.root or where torchvision puts them."""
    folder = _needs_root(root, "fashion_mnist")
    images = _find_idx(folder, split, "images-idx3-ubyte")
    if images is None:
        _download("fashion_mnist", folder, lambda: datasets.FashionMNIST(str(folder), download=True))
        images = _find_idx(folder, split, "images-idx3-ubyte")
    labels = _find_idx(folder, split, "labels-idx1-ubyte")
    if images is None or labels is None:
        raise FileNotFoundError(f"data.root={folder}: {_IDX_NAMES[split]}-labels-idx1-ubyte(.gz) is missing")
    return _arrays(read_idx(images)[:, None], torch.as_tensor(read_idx(labels)), list(FASHION_CLASSES), split)


def read_idx(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The uint8 array in an idx file (LeCun's format for MNIST), packed or not.

    Raises:
        ValueError: naming the file, if it is cut, damaged or of another format.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        kind, n_axes = data[2], data[3]
        shape = struct.unpack(f">{n_axes}I", data[4 : 4 + 4 * n_axes])
        if data[:2] != b"\0\0" or kind != 8:
            raise ValueError("not an idx file of bytes")
        return np.frombuffer(bytearray(data), np.uint8, offset=4 + 4 * n_axes).reshape(shape)
    except (OSError, EOFError, IndexError, struct.error, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}; replace it") from error


def cifar10(root: str | None, split: str) -> MemoryImages:
    """CIFAR-10, 32 x 32 colour, 10 classes."""
    return _cifar(datasets.CIFAR10, "cifar10", root, split)


def cifar100(root: str | None, split: str) -> MemoryImages:
    """CIFAR-100, 32 x 32 colour, its 100 fine classes."""
    return _cifar(datasets.CIFAR100, "cifar100", root, split)


def svhn(root: str | None, split: str) -> MemoryImages:
    """SVHN, cropped digits, 32 x 32 colour; `train` without the extra images."""
    data = _torchvision("svhn", root, lambda folder, load: datasets.SVHN(folder, split, download=load))
    return _arrays(data.data, torch.as_tensor(data.labels), [str(digit) for digit in range(10)], split)


def stl10(root: str | None, split: str) -> MemoryImages:
    """STL-10, 96 x 96 colour; training has the 100,000 unlabelled images too, with label -1."""
    part = "train+unlabeled" if split == "train" else "test"
    data = _torchvision("stl10", root, lambda folder, load: datasets.STL10(folder, part, download=load))
    return _arrays(data.data, torch.as_tensor(data.labels), list(data.classes), split)


def _cifar(kind: Any, name: str, root: str | None, split: str) -> MemoryImages:
    data = _torchvision(name, root, lambda folder, load: kind(folder, train=split == "train", download=load))
    return _arrays(data.data.transpose(0, 3, 1, 2), torch.tensor(data.targets), list(data.classes), split)


def _arrays(
    images: np.ndarray[Any, np.dtype[np.uint8]], labels: Tensor, classes: list[str], split: str
) -> MemoryImages:
    return MemoryImages(
        images=torch.from_numpy(np.ascontiguousarray(images)),
        labels=labels.to(torch.int64),
        classes=classes,
        samples=[f"{split}/{i}" for i in range(len(images))],
    )


def _needs_root(root: str | None, source: str) -> Path:
    if root is None:
        raise ValueError(f"data={source} needs data.root=DIR; its files are found there or downloaded to it")
    return Path(root)


def _find_idx(folder: Path, split: str, name: str) -> Path | None:
    names = (f"{_IDX_NAMES[split]}-{name}{end}" for end in (".gz", ""))
    places = [place / name for name in names for place in (folder, folder / "FashionMNIST" / "raw")]
    return next((place for place in places if place.is_file()), None)


def _torchvision(source: str, root: str | None, make: Callable[[str, bool], Any]) -> Any:
    """torchvision's data set from data.root, downloaded if it is not there."""
    folder = _needs_root(root, source)
    try:
        return make(str(folder), False)
    except (RuntimeError, FileNotFoundError):  # torchvision: "Dataset not found or corrupted"
        return _download(source, folder, lambda: make(str(folder), True))


def _download(source: str, folder: Path, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except (RuntimeError, OSError) as error:  # no network, no such host, wrong checksum, full disk
        raise FileNotFoundError(
            f"data={source} is not under data.root={folder} and could not be downloaded: {error}; "
            "put its files there (torchvision's layout), or train on the shipped subset with "
            "data=fashion_mnist_mini, which needs no download"
        ) from error
