"""Whole pictures of a split, for detection and segmentation, and the batches to learn from. Next: picture_training.py.

VOC2007/ImageSets/Main/train.txt            000005
VOC2007/ImageSets/Segmentation/train.txt    000032
"""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from deepcluster.data.images import FileImages
from deepcluster.evaluation.voc07.lists import (
    IMAGES,
    SPLITS,
    chosen_splits,
    listed_images,
    refuse_shared,
    voc_folder,
)
from deepcluster.system.seeding import generator
from deepcluster.system.threads import ahead, n_cores

SLACK = 2  # pixels by which a side may differ from what the other side and the told shape ask for


@dataclass(kw_only=True)
class PictureSplit:
    """One split: its N pictures.

    Args:
        name: train, val, trainval or test.
        folder: VOC2007.
        names: of the pictures, as 000005.
        images: their files.
    """

    name: str
    folder: Path
    names: list[str]
    images: FileImages

    def beside(self, folder: str, suffix: str) -> list[Path]:
        """The files of another folder that belong to the pictures.

        Raises:
            FileNotFoundError: if the folder or a file is missing.
        """
        files = [self.folder / folder / f"{name}{suffix}" for name in self.names]
        if not (self.folder / folder).is_dir():
            raise FileNotFoundError(f"{self.folder} has no folder {folder}; unpack it beside {IMAGES}")
        missing = [file for file in files if not file.is_file()]
        if missing:
            raise FileNotFoundError(
                f"{len(missing):,} of {len(files):,} pictures of {self.name} have no file in {self.folder / folder}, "
                f"first {missing[0].name}"
            )
        return files


def read_picture_splits(
    root: str | None, train: str | None, test: str | None, lists: Path, n_channels: int
) -> tuple[PictureSplit, PictureSplit]:
    """The split to train on and the one to test on; if both are None, trainval and test if both are there, else train
    and val.

    Args:
        lists: ImageSets/Main or ImageSets/Segmentation.

    Raises:
        FileNotFoundError, ValueError: if a folder, a list or a picture is missing, or the splits share a picture.
    """
    folder = voc_folder(root, lists)

    def choose() -> tuple[str, str]:
        pairs = [pair for pair in SPLITS if all((folder / lists / f"{name}.txt").is_file() for name in pair)]
        if not pairs:
            raise FileNotFoundError(
                f"{folder / lists} holds no trainval.txt and test.txt, nor train.txt and val.txt; "
                "set evaluation.train_split and evaluation.test_split to lists that are there"
            )
        return pairs[0]

    train, test = chosen_splits(train, test, choose)
    train_split, test_split = (_read_split(folder, lists, name, n_channels) for name in (train, test))
    refuse_shared(train_split, test_split)
    return train_split, test_split


def _read_split(folder: Path, lists: Path, name: str, n_channels: int) -> PictureSplit:
    file = folder / lists / f"{name}.txt"
    if not file.is_file():
        there = ", ".join(sorted(each.stem for each in (folder / lists).glob("*.txt") if "_" not in each.stem))
        raise FileNotFoundError(f"{folder / lists} has no {name}.txt; it has {there or 'no list'}")
    names = list(dict.fromkeys(file.read_text().split()))
    if not names:
        raise ValueError(f"{file} is empty")
    images = listed_images(folder, names, str(lists / file.name), n_channels=n_channels, fingerprint=name)
    return PictureSplit(name=name, folder=folder, names=names, images=images)


def check_shape(picture: Path, told: tuple[int, int], by: Path) -> None:
    """Refuse a picture that is no smaller or larger copy of the one that was annotated.

    Args:
        told: width and height.
        by: the file that tells them.

    Raises:
        ValueError: naming both files.
    """
    width, height = _size(picture)
    expected_width, expected_height = told[0] * height / told[1], told[1] * width / told[0]
    if min(abs(width - expected_width), abs(height - expected_height)) > SLACK:
        raise ValueError(
            f"{picture} has {width} x {height} pixels, which is no copy of the {told[0]} x {told[1]} of {by}: "
            "put pictures and annotations of one set together"
        )


def smallest_side(images: FileImages) -> int:
    """The shortest side of all pictures, in pixels.

    Raises:
        ValueError: if a picture is damaged.
    """
    return min(min(_size(Path(images.path(i)))) for i in range(len(images)))


def _size(picture: Path) -> tuple[int, int]:
    """Width and height, from the head of the file."""
    try:
        with Image.open(picture) as opened:
            return opened.size
    except OSError as error:
        raise ValueError(f"{picture} is damaged ({error}); unpack it again") from error


@dataclass(kw_only=True)
class PictureReader:
    """Reads whole pictures, resized, and normalises them.

    Args:
        short_side: in pixels; None: as they are.
        max_side: longest long side; None: any.
        mean, std: per channel, in [0, 1].
        n_threads: that decode in advance; 0: none.
    """

    images: FileImages
    short_side: int | None
    max_side: int | None
    mean: list[float]
    std: list[float]
    n_threads: int

    def read(self, i: int) -> Tensor:
        """Picture i, uint8 (C, h, w)."""
        pixels = self.images.read(i)
        if self.short_side is None:
            return pixels
        resized: Tensor = TF.resize(pixels, [self.short_side], max_size=self.max_side, antialias=True)
        return resized

    def normalised(self, pixels: Tensor, device: torch.device) -> Tensor:
        """uint8 (C, h, w) to float32."""
        mean, std = (torch.tensor(values, device=device).view(-1, 1, 1) for values in (self.mean, self.std))
        return (pixels.to(device).float() / 255 - mean) / std

    def each(self, device: torch.device) -> Iterator[Tensor]:
        """All pictures in their order, normalised (C, h, w)."""
        with ThreadPoolExecutor(max(1, self.n_threads)) as executor:
            for pixels in ahead(executor, self.read, range(len(self.images)), 2 * self.n_threads):
                yield self.normalised(pixels, device)


def n_threads(num_workers: int | None) -> int:
    """evaluation.num_workers, or one for each core, at most 8."""
    return min(8, n_cores()) if num_workers is None else num_workers


class PictureBatch(NamedTuple):
    """Pictures as they were read, their indices (B,), and which of them are to be mirrored (B,)."""

    pixels: list[Tensor]
    indices: Tensor
    mirrored: Tensor


class Pictures(NamedTuple):
    """Normalised pictures (C, h, w) of several sizes, and whether each is mirrored."""

    images: list[Tensor]
    mirrored: list[bool]


class PictureBatches:
    """The batches of a training. Each epoch shows all pictures in a new order, each mirrored by chance.

    Batch t depends only on the seed and t, so a training can start at any batch.
    """

    def __init__(self, reader: PictureReader, *, batch_size: int, seed: int) -> None:
        self.reader, self.batch_size, self.seed = reader, batch_size, seed
        self.n_per_epoch = -(-len(reader.images) // batch_size)

    def start_at(self, step: int) -> Generator[PictureBatch]:
        """The batches from `step` on; never ends."""
        n = self.reader.n_threads
        with ThreadPoolExecutor(max(1, n)) as executor:
            yield from ahead(executor, self._read, self._requests(step), n)

    def inputs(self, batch: PictureBatch, device: torch.device) -> Pictures:
        """Normalised pictures, mirrored where they are to be."""
        images = [self.reader.normalised(pixels, device) for pixels in batch.pixels]
        mirrored = batch.mirrored.tolist()
        return Pictures(
            [image.flip(-1) if flip else image for image, flip in zip(images, mirrored, strict=True)], mirrored
        )

    def close(self) -> None:
        """Nothing stays open: the threads end with the generator."""

    def _requests(self, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Indices (B,) and mirrored (B,) of each batch from `step` on."""
        epoch, first = divmod(step, self.n_per_epoch)
        n = len(self.reader.images)
        while True:
            random = generator(self.seed, "order", epoch)
            order, mirrored = torch.randperm(n, generator=random), torch.rand(n, generator=random) < 0.5
            parts = (torch.split(each, self.batch_size) for each in (order, mirrored))
            yield from list(zip(*parts, strict=True))[first:]
            epoch, first = epoch + 1, 0

    def _read(self, request: tuple[Tensor, Tensor]) -> PictureBatch:
        indices, mirrored = request
        return PictureBatch([self.reader.read(i) for i in indices.tolist()], indices, mirrored)
