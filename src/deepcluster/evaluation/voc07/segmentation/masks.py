"""Reads VOC's masks: SegmentationClass/000032.png, whose pixels are classes. Next: fcn.py."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from deepcluster.evaluation.voc07.classes import CLASSES
from deepcluster.evaluation.voc07.pictures import PictureSplit, check_shape

FOLDER = "SegmentationClass"
BACKGROUND = "background"
N_CLASSES = 1 + len(CLASSES)
VOID = 255  # edges and what is too difficult: neither learned from nor counted
PALETTES = ("P", "L")  # Pillow's modes whose pixels are the numbers themselves


def read_mask(file: Path) -> Tensor:
    """The classes (H, W) uint8 of a picture's pixels: 0 background, 1 to 20, 255 void.

    Raises:
        ValueError: if the file is damaged, is no picture with a palette, or holds another class.
    """
    try:
        with Image.open(file) as opened:
            mode, pixels = opened.mode, np.array(opened)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{file} is damaged ({error}); unpack it again") from error
    if mode not in PALETTES:
        raise ValueError(f"{file} has colours ({mode}) where VOC has a palette of classes; unpack it again")
    unknown = sorted(set(np.unique(pixels).tolist()) - {*range(N_CLASSES), VOID})
    if unknown:
        raise ValueError(
            f"{file} has pixels of the class {unknown[0]}; VOC has 0 (background) to {N_CLASSES - 1}, and {VOID} (void)"
        )
    return torch.from_numpy(pixels)


def checked_masks(split: PictureSplit) -> list[Path]:
    """The files of a split's masks; each is read once, to find what is wrong before anything long starts.

    Raises:
        FileNotFoundError: if one is missing.
        ValueError: if one cannot be read, has no pixel that counts, or does not fit its picture.
    """
    files = split.beside(FOLDER, ".png")
    for i, file in enumerate(files):
        mask = read_mask(file)
        if bool((mask == VOID).all()):
            raise ValueError(f"{file} is void everywhere; take it out of the list of {split.name}")
        check_shape(Path(split.images.path(i)), (mask.shape[1], mask.shape[0]), file)
    return files
