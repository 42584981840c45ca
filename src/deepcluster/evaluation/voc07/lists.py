"""Reads PASCAL VOC's classification lists: the image files, and which classes each image shows.

VOC2007/JPEGImages/000005.jpg
VOC2007/ImageSets/Main/chair_trainval.txt    000005  1
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from deepcluster.data.decode import BrokenImage, UnreadableImage
from deepcluster.data.images import FileImages

LISTS = Path("ImageSets", "Main")
SEGMENTED = Path("ImageSets", "Segmentation")
IMAGES = "JPEGImages"
PRESENT, ABSENT, MASKED = 1, 0, -1
# Code in a list -> our code. 0 is "difficult", neither hit nor miss (VOC2007 development kit). The original writes 255
# for it, and for an image that the list of a class does not name.
CODES = {"1": PRESENT, "-1": ABSENT, "0": MASKED}
SPLITS = (("trainval", "test"), ("train", "val"))  # (to train on, to test on); the first pair with lists is the default


@dataclass(kw_only=True)
class VocSplit:
    """One split: its N images and the classes that they show.

    Args:
        name: train, val, trainval or test.
        images: the files; `images.labels` is None, as an image may show several classes.
        labels: (N, C) int8: 1 present, 0 absent, -1 masked (difficult, or not in the list of the class).
        classes: the C names, sorted.
    """

    name: str
    images: FileImages
    labels: Tensor
    classes: list[str]


def voc_folder(root: str | None, lists: Path = LISTS) -> Path:
    """The folder that holds JPEGImages and ImageSets: `root` itself or its VOC2007.

    Args:
        lists: the lists that it must hold.

    Raises:
        ValueError: if `root` is None.
        FileNotFoundError: if the folder of lists or of images is missing.
    """
    if root is None:
        raise ValueError("evaluation.root has no value; give the folder VOCdevkit or VOCdevkit/VOC2007")
    for folder in (Path(root), Path(root) / "VOC2007"):
        if (folder / lists).is_dir():
            if not (folder / IMAGES).is_dir():
                raise FileNotFoundError(
                    f"{folder} has lists but no folder {IMAGES}; unpack the images beside ImageSets"
                )
            return folder
    raise FileNotFoundError(
        f"evaluation.root={root} holds no {lists.as_posix()} with the lists of images, nor does its VOC2007; "
        "give the folder VOCdevkit or VOCdevkit/VOC2007 of PASCAL's unpacked archives"
    )


def choose_splits(folder: Path) -> tuple[str, str]:
    """The splits to train and test on: trainval and test if both have lists, else train and val.

    Raises:
        FileNotFoundError: if neither pair has lists.
    """
    for pair in SPLITS:
        if all(_class_lists(folder, name) for name in pair):
            return pair
    raise FileNotFoundError(
        f"{folder / LISTS} holds no lists CLASS_SPLIT.txt of trainval and test, nor of train and val; "
        "set evaluation.train_split and evaluation.test_split to splits that have lists"
    )


def read_split(folder: Path, name: str, n_channels: int) -> VocSplit:
    """Read the lists of a split. Its images are all that any list names, in the order of NAME.txt.

    Args:
        folder: from :func:`voc_folder`.
        name: name of the split.
        n_channels: number of channels to decode the images with, 1 to 4.

    Raises:
        FileNotFoundError: if the split has no lists, or an image is missing.
        ValueError: if the lists are empty, or a line cannot be parsed.
    """
    lists = _class_lists(folder, name)
    if not lists:
        splits = sorted({file.stem.rpartition("_")[2] for file in (folder / LISTS).glob("*_*.txt")})
        raise FileNotFoundError(
            f"{folder / LISTS} has no lists *_{name}.txt; it has lists of {', '.join(splits) or 'no split'}"
        )
    codes = {class_name: _read_list(file) for class_name, file in lists.items()}
    in_order = folder / LISTS / f"{name}.txt"
    ordered = in_order.read_text().split() if in_order.is_file() else []
    names = list(dict.fromkeys([*ordered, *(image for of_class in codes.values() for image in of_class)]))
    if not names:
        raise ValueError(f"the lists *_{name}.txt in {folder / LISTS} are empty")
    labels = torch.tensor(
        [[of_class.get(image, MASKED) for of_class in codes.values()] for image in names], dtype=torch.int8
    )
    images = listed_images(folder, names, f"the lists *_{name}.txt", n_channels=n_channels, fingerprint=name)
    return VocSplit(name=name, images=images, labels=labels, classes=list(codes))


def listed_images(folder: Path, names: Sequence[str], by: str, *, n_channels: int, fingerprint: str) -> FileImages:
    """The images of these names.

    Args:
        by: what names them, for the message.

    Raises:
        FileNotFoundError: if one is missing.
        ValueError: if n_channels is above 4.
    """
    if n_channels > 4:
        raise ValueError(f"the network takes {n_channels} channels, VOC's images can be decoded with 1 to 4")
    files = set(os.listdir(folder / IMAGES))
    missing = [image for image in names if f"{image}.jpg" not in files]
    if missing:
        raise FileNotFoundError(
            f"{len(missing):,} of {len(names):,} images of {by} are not in {folder / IMAGES}, first {missing[0]}.jpg"
        )
    samples = [f"{IMAGES}/{image}.jpg" for image in names]
    return FileImages(root=folder, samples=samples, n_channels=n_channels, fingerprint=fingerprint)


def read_splits(root: str | None, train: str | None, test: str | None, n_channels: int) -> tuple[VocSplit, VocSplit]:
    """Read the split to train on and the one to test on; if both are None, :func:`choose_splits` chooses.

    Raises:
        FileNotFoundError, ValueError: see the functions above; also if only one of them is None, they share an image or
            have different classes, no test image shows a class, or n_channels is above 4.
    """
    folder = voc_folder(root)
    train, test = chosen_splits(train, test, lambda: choose_splits(folder))
    train_split, test_split = read_split(folder, train, n_channels), read_split(folder, test, n_channels)
    refuse_shared(train_split, test_split)
    if not bool((test_split.labels == PRESENT).any()):
        raise ValueError(
            f"no image of {test} shows any of the classes, so nothing can be measured: the lists *_{test}.txt in "
            f"{folder / LISTS} have no line that ends in 1"
        )
    if train_split.classes != test_split.classes:
        differ = sorted(set(train_split.classes) ^ set(test_split.classes))
        raise ValueError(f"{train} and {test} have lists of different classes in {folder / LISTS}: {', '.join(differ)}")
    return train_split, test_split


def chosen_splits(train: str | None, test: str | None, choose: Callable[[], tuple[str, str]]) -> tuple[str, str]:
    """The names of the splits to train and test on; where neither is set, those that `choose` gives.

    Raises:
        ValueError: if only one of them is None.
    """
    if (train is None) != (test is None):
        raise ValueError("evaluation.train_split and evaluation.test_split belong together: set both, or neither")
    return choose() if train is None or test is None else (train, test)


class Split(Protocol):
    """A named split of images."""

    @property
    def name(self) -> str: ...

    @property
    def images(self) -> FileImages: ...


def refuse_shared(train: Split, test: Split) -> None:
    """Refuse splits that share an image.

    Raises:
        ValueError: naming the first.
    """
    shared = set(train.images.samples) & set(test.images.samples)
    if shared:
        raise ValueError(
            f"{len(shared):,} images are in {train.name} and in {test.name}, first {min(shared)}: "
            "testing on training images is meaningless; choose train and val, or trainval and test"
        )


@contextmanager
def naming_damage(images: FileImages) -> Iterator[None]:
    """Replace the error message of a broken image: its advice is for data=folder and for runs.

    Raises:
        ValueError: in place of BrokenImage.
    """
    try:
        yield
    except BrokenImage as error:
        reason = str(error).partition("; ")[0]
        if isinstance(error, UnreadableImage):
            raise ValueError(f"an image in {images.root} cannot be read ({reason}); put it back") from error
        raise ValueError(f"an image in {images.root} is damaged ({reason}); unpack it again") from error


def _class_lists(folder: Path, split: str) -> dict[str, Path]:
    """Class -> file of its list, sorted. Note that one class is called train, like a split."""
    ending = f"_{split}.txt"
    return {file.name.removesuffix(ending): file for file in sorted((folder / LISTS).glob(f"?*{ending}"))}


def _read_list(file: Path) -> dict[str, int]:
    codes = {}
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        image, _, code = line.strip().partition(" ")
        if code.strip() not in CODES:
            raise ValueError(
                f"{file}, line {number}: expected an image and 1 (present), -1 (absent) or 0 (difficult), got {line!r}"
            )
        codes[image] = CODES[code.strip()]
    return codes
