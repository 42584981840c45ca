"""Pictures without files: smooth random textures, each unlike the others."""

import torch
from torch import Tensor
from torch.nn import functional as F

from deepcluster.system.seeding import generator


def textures(n: int, seed: int = 0, side: int = 160) -> Tensor:
    """Smooth random pictures (n, side, side), grey levels from 30 to 200."""
    grey = sum(
        F.interpolate(
            torch.randn(n, 1, size, size, generator=generator(seed, size)), side, mode="bicubic", align_corners=False
        )
        for size in (4, 8, 16)
    )[:, 0]  # type: ignore[index]
    low, high = grey.amin((1, 2), keepdim=True), grey.amax((1, 2), keepdim=True)
    return 30 + 170 * (grey - low) / (high - low)


def seen(pictures: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(pictures[:, None], 64)[:, 0].round().to(torch.uint8)
