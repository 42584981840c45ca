"""Intersection over union of each class, over all pixels of all pictures, as VOC counts it."""

import torch
from torch import Tensor

from deepcluster.evaluation.voc07.segmentation.masks import N_CLASSES, VOID


def confusion(predicted: Tensor, mask: Tensor) -> Tensor:
    """How many pixels of class i (row) were given class j (column): (21, 21) int64, without void.

    Args:
        predicted, mask: (H, W).
    """
    counted = mask != VOID
    pairs = N_CLASSES * mask[counted].long() + predicted[counted].long()
    return torch.bincount(pairs, minlength=N_CLASSES**2).view(N_CLASSES, N_CLASSES)


def intersections_over_unions(pixels: Tensor) -> list[float]:
    """Of each class: pixels that are and were given it, by those that are it or were given it; NaN if there are none.

    Args:
        pixels: sum of :func:`confusion` over the pictures.
    """
    right = pixels.diagonal().double()
    values: list[float] = (right / (pixels.sum(0) + pixels.sum(1) - right)).tolist()
    return values


def pixel_accuracy(pixels: Tensor) -> float:
    """Share of the pixels that were given their class."""
    return float(pixels.diagonal().sum() / pixels.sum())
