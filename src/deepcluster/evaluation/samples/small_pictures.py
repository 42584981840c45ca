"""A small grey picture of each image, in memory, and its statistics. Next: shapes.py, statistics.py."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from deepcluster.data.images import ImageSet
from deepcluster.evaluation.samples import statistics
from deepcluster.features.image_rows import image_rows

SIDE = 64  # pixels: 4 KB an image
WEIGHTS = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R 601)


class SmallPictures(NamedTuple):
    """Grey levels (N, 64, 64) uint8, and statistics (N, 43) float32."""

    grey: Tensor
    statistics: Tensor


def small_pictures(
    images: ImageSet,
    *,
    among: Tensor | None = None,
    batch_size: int,
    num_workers: int,
    device: torch.device,
    advance: Callable[[int], None],
) -> SmallPictures:
    """The central square of each image, the largest there is, brought to 64 x 64 pixels.

    Args:
        among: (N,) int64, the numbers of the images that are wanted; None: all. N is their number.
        advance: called after each batch with its number of images.
    """
    chosen = torch.arange(len(images)) if among is None else among
    n, n_channels, done = len(chosen), images.n_channels, 0
    source = image_rows(
        _rows,
        images,
        side=SIDE,
        mean=[0.0] * n_channels,
        std=[1 / 255] * n_channels,  # grey levels from 0 to 255
        batch_size=batch_size,
        num_workers=num_workers,
        device=device,
    )
    small = SmallPictures(torch.empty(n, SIDE, SIDE, dtype=torch.uint8), torch.empty(n, statistics.N))
    for indices, rows in source.stream(chosen):
        at = slice(done, done + len(indices))
        done += len(indices)
        small.grey[at] = rows[:, statistics.N :].view(-1, SIDE, SIDE).round().clamp(0, 255).to(torch.uint8).cpu()
        small.statistics[at] = rows[:, : statistics.N].cpu()
        advance(len(indices))
    return small


def _rows(images: Tensor) -> Tensor:
    """(B, C, 64, 64) -> (B, 43 + 64 * 64): statistics, then grey levels."""
    levels = grey(images)
    colours = images[:, :3] if images.shape[1] in (3, 4) else levels[:, None].expand(-1, 3, -1, -1)
    return torch.cat([statistics.picture_statistics(colours, levels), levels.flatten(1)], dim=1)


def grey(images: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H, W): colours weighted, without alpha; of more than four channels the mean."""
    n_channels = images.shape[1]
    if n_channels in (3, 4):
        return (images[:, :3] * torch.tensor(WEIGHTS, device=images.device).view(3, 1, 1)).sum(dim=1)
    return images[:, 0] if n_channels <= 2 else images.mean(dim=1)
