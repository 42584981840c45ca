"""A pass of all images through something other than the network that is trained. Next: extraction.py."""

from collections.abc import Callable

import torch
from torch import Tensor

from deepcluster.data.images import ImageSet, MemoryImages
from deepcluster.data.views import FeatureView
from deepcluster.features.extraction import FeaturePass


def image_rows(
    network: Callable[[Tensor], Tensor],
    images: ImageSet,
    *,
    side: int,
    resize: int | None = None,
    mean: list[float],
    std: list[float],
    batch_size: int,
    num_workers: int,
    device: torch.device,
) -> FeaturePass:
    """The rows that a frozen float32 network gives of central crops.

    Args:
        network: (B, C, side, side) -> (B, D); on the device already.
        resize: length of the short side before the crop; None: side.
        mean, std: what the network's images are normalised by, by channel.
    """
    view = FeatureView(side, resize, mean, std, on_files=not isinstance(images, MemoryImages))
    return FeaturePass(
        network=network, images=images, view=view, batch_size=batch_size, num_workers=num_workers, device=device
    )
