"""PASCAL VOC's classification lists: image files, and for each image which classes it shows.

VOC2007/JPEGImages/000005.jpg
VOC2007/ImageSets/Main/chair_trainval.txt    000005  1
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from deepcluster.data.decode import BrokenImage
from deepcluster.data.images import FileImages

LISTS = Path("ImageSets", "Main")
IMAGES = "JPEGImages"
PRESENT, ABSENT, MASKED = 1, 0, -1
# What a list says -> our code. 0 is "difficult": neither a hit nor a miss (VOC2007 development kit; in the original
# it becomes 255, as does an image that a class's list does not name).
CODES = {"1": PRESENT, "-1": ABSENT, "0": MASKED}
SPLITS = (("trainval", "test"), ("train", "val"))  # learned from, tested on; the first pair that is there


@dataclass(kw_only=True)
class VocSplit:
    """One split: its N images and what they show.

    Args:
        name: train, val, trainval or test.
        images: the files; their own `labels` are None, as an image may show several classes.
        labels: (N, C) int8: 1 present, 0 absent, -1 masked (difficult, or not in the class's list).
        classes: the C names, sorted.
    """

    name: str
    images: FileImages
    labels: Tensor
    classes: list[str]


def voc_folder(root: str | None) -> Path:
    """The folder that holds JPEGImages and ImageSets: `root` itself or its VOC2007.

    Raises:
        ValueError: if `root` is None.
        FileNotFoundError: if there are no lists or no images.
    """
    if root is None:
        raise ValueError("evaluation.root has no value; give the folder VOCdevkit or VOCdevkit/VOC2007")
    for folder in (Path(root), Path(root) / "VOC2007"):
        if (folder / LISTS).is_dir():
            if not (folder / IMAGES).is_dir():
                raise FileNotFoundError(
                    f"{folder} has lists but no folder {IMAGES}; unpack the images beside ImageSets"
                )
            return folder
    raise FileNotFoundError(
        f"evaluation.root={root} holds no {LISTS.as_posix()} with the lists of images, nor does its VOC2007; "
        "give the folder VOCdevkit or VOCdevkit/VOC2007, as PASCAL's archives unpack"
    )


def choose_splits(folder: Path) -> tuple[str, str]:
    """trainval and test if both have lists, else train and val.

    Raises:
        FileNotFoundError: if neither pair is there.
    """
    for pair in SPLITS:
        if all(_class_lists(folder, name) for name in pair):
            return pair
    raise FileNotFoundError(
        f"{folder / LISTS} holds no lists CLASS_SPLIT.txt of trainval and test, nor of train and val; "
        "name what is there with evaluation.train_split and evaluation.test_split"
    )


def read_split(folder: Path, name: str, n_channels: int) -> VocSplit:
    """Read a split's lists; the images are those that any of them names, in the order of NAME.txt.

    Args:
        folder: from :func:`voc_folder`.
        name: of the split.
        n_channels: with which the images are decoded: 1 to 4.

    Raises:
        FileNotFoundError: if the split has no lists, or an image is missing.
        ValueError: if a line is not understood.
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
    files = set(os.listdir(folder / IMAGES))
    missing = [image for image in names if f"{image}.jpg" not in files]
    if missing:
        raise FileNotFoundError(
            f"{len(missing):,} of {len(names):,} images of the lists *_{name}.txt are not in {folder / IMAGES}, first "
            f"{missing[0]}.jpg"
        )
    labels = torch.tensor(
        [[of_class.get(image, MASKED) for of_class in codes.values()] for image in names], dtype=torch.int8
    )
    images = FileImages(
        root=folder, samples=[f"{IMAGES}/{image}.jpg" for image in names], n_channels=n_channels, fingerprint=name
    )
    return VocSplit(name=name, images=images, labels=labels, classes=list(codes))


def read_splits(root: str | None, train: str | None, test: str | None, n_channels: int) -> tuple[VocSplit, VocSplit]:
    """The split to learn from and the one to test on; those that are None by :func:`choose_splits`.

    Raises:
        FileNotFoundError, ValueError: see above; and if only one is None, they share an image or differ in classes,
            or the network takes other images than files hold.
    """
    if n_channels > 4:
        raise ValueError(f"the network takes {n_channels} channels, VOC's photographs give 1 to 4")
    folder = voc_folder(root)
    if (train is None) != (test is None):
        raise ValueError("evaluation.train_split and evaluation.test_split belong together: set both, or neither")
    if train is None or test is None:
        train, test = choose_splits(folder)
    learned, tested = read_split(folder, train, n_channels), read_split(folder, test, n_channels)
    shared = set(learned.images.samples) & set(tested.images.samples)
    if shared:
        raise ValueError(
            f"{len(shared):,} images are in {train} and in {test}, first {min(shared)}: "
            "a test on images that were learned from says nothing; choose train and val, or trainval and test"
        )
    if not bool((tested.labels == PRESENT).any()):
        raise ValueError(
            f"no image of {test} shows any of the classes, so nothing can be measured: the lists *_{test}.txt in "
            f"{folder / LISTS} have no line that ends in 1"
        )
    if learned.classes != tested.classes:
        differ = sorted(set(learned.classes) ^ set(tested.classes))
        raise ValueError(f"{train} and {test} have lists of different classes in {folder / LISTS}: {', '.join(differ)}")
    return learned, tested


@contextmanager
def naming_damage(images: FileImages) -> Iterator[None]:
    """A damaged image is refused with what helps here; the reader's own advice is for data=folder.

    Raises:
        ValueError: in place of BrokenImage.
    """
    try:
        yield
    except BrokenImage as error:
        raise ValueError(f"an image in {images.root} is damaged ({error}); unpack it again") from error


def _class_lists(folder: Path, split: str) -> dict[str, Path]:
    """Class -> its list of a split, sorted; a class may be called train, as one is."""
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
