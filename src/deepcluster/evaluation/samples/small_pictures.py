"""A small grey picture of each image, in memory: what copies are looked for in. Next: shapes.py."""

from collections.abc import Callable

import torch
from torch import Tensor

from deepcluster.data.images import ImageSet
from deepcluster.features.image_rows import image_rows

SIDE = 64  # pixels: 4 KB an image
WEIGHTS = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R 601)


def small_pictures(
    images: ImageSet, *, batch_size: int, num_workers: int, device: torch.device, advance: Callable[[int], None]
) -> Tensor:
    """The central square of each image in grey: (N, 64, 64) uint8. The largest square is taken, nothing more is cut.

    Args:
        advance: called after each batch with its number of images.
    """
    n_channels = images.n_channels
    source = image_rows(
        grey,
        images,
        side=SIDE,
        mean=[0.0] * n_channels,
        std=[1 / 255] * n_channels,  # grey levels from 0 to 255
        batch_size=batch_size,
        num_workers=num_workers,
        device=device,
    )
    pictures = torch.empty(len(images), SIDE, SIDE, dtype=torch.uint8)
    for indices, rows in source.stream(torch.arange(len(images))):
        pictures[indices] = rows.round().clamp(0, 255).to(torch.uint8).cpu()
        advance(len(indices))
    return pictures


def grey(images: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H, W): colours weighted, without alpha; of more than four channels the mean."""
    n_channels = images.shape[1]
    if n_channels in (3, 4):
        return (images[:, :3] * torch.tensor(WEIGHTS, device=images.device).view(3, 1, 1)).sum(dim=1)
    return images[:, 0] if n_channels <= 2 else images.mean(dim=1)
