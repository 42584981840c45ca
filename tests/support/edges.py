"""Images of straight edges, and networks whose first layers differ: for tests of the first filters."""

from typing import Any

import torch

from deepcluster.data.images import ImageSet, MemoryImages
from deepcluster.models.alexnet import SmallAlexNet
from deepcluster.models.backbone import Backbone
from deepcluster.models.lenet import LeNet5
from deepcluster.models.resnet import resnet

MEAN, STD = [0.5, 0.45, 0.4], [0.25, 0.2, 0.3]


def edges(n: int = 60, channels: int = 3, size: int = 32, *, black: bool = False) -> MemoryImages:
    """Images of one straight edge each, at any angle, in two colours with a little noise; or beside pure black."""
    generator = torch.Generator().manual_seed(0)
    angle = 2 * torch.pi * torch.rand(n, 1, 1, generator=generator)
    y, x = torch.meshgrid(torch.arange(size) - size / 2, torch.arange(size) - size / 2, indexing="ij")
    side = (x * angle.cos() + y * angle.sin() > 0).unsqueeze(1)
    one, other = (255 * torch.rand(n, channels, 1, 1, generator=generator) for _ in range(2))
    noisy = torch.where(side, one, other) + 8 * torch.randn(n, channels, size, size, generator=generator)
    if black:
        noisy = torch.where(side, noisy, torch.zeros(()))
    pixels = noisy.clamp(0, 255).to(torch.uint8)
    return MemoryImages(images=pixels, samples=[str(i) for i in range(n)])


def card(images: ImageSet, size: int = 32) -> dict[str, Any]:
    c = images.n_channels
    return {"in_channels": c, "image_size": size, "resize": size, "mean": MEAN[:c], "std": STD[:c]}


def networks() -> list[tuple[Backbone, int]]:
    torch.manual_seed(0)
    small = {"feature_dim": 8, "hidden": 8}
    return [
        (LeNet5(1), 1),
        (SmallAlexNet(3, sobel=False, **small), 3),
        (SmallAlexNet(3, sobel=True, **small), 3),
        (resnet("resnet18", 3, 32), 3),
        (resnet("resnet18", 3, 64, small_images=False), 3),
    ]
