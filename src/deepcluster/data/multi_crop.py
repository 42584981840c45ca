"""Several random crops of each image: one or two large ones, and any number of small ones. Next: sampler.py, loader.py.

SwAV and DeepCluster-v2 compare crops of one image ("multi-crop", Caron et al. 2020, section 3.2). A crop has its own
random numbers, and the first crop's are those of a view with one crop.
"""

import torch
from torch import Tensor

from deepcluster.data.images import ImageSet
from deepcluster.data.shrunk import Shrunk
from deepcluster.data.view_settings import View
from deepcluster.data.views import TrainView, train_view


class MultiCrop:
    """V crops of each image, large ones first.

    Args:
        crops: the view of each crop.
        n_large: how many of them are large.
    """

    def __init__(self, crops: list[TrainView], n_large: int) -> None:
        self.crops = crops
        self.n_large = n_large
        self.size = max(crop.size for crop in crops)
        self.on_files = crops[0].on_files

    @property
    def n_pixels(self) -> int:
        """The pixels of all crops of an image together."""
        return sum(crop.size**2 for crop in self.crops)

    def draw(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """The random numbers of B images: (B, d) of each crop, side by side."""
        return torch.cat([crop.draw(batch_size, generator) for crop in self.crops], dim=1)

    def __call__(self, images: Tensor, draws: Tensor) -> list[Tensor]:
        """V float32 crops (B, C, S, S), on the images' device.

        Args:
            images: uint8 (B, C, H, W); from files uint8 (B, n), what `crop_file` returns of each.
            draws: see `draw`.
        """
        each = torch.split(draws, draws.shape[1] // len(self.crops), dim=1)
        if not self.on_files:
            return [crop(images, numbers) for crop, numbers in zip(self.crops, each, strict=True)]
        n_channels = images.shape[1] // self.n_pixels
        packed = torch.split(images, [n_channels * crop.size**2 for crop in self.crops], dim=1)
        return [
            crop(pixels.view(-1, n_channels, crop.size, crop.size), numbers)
            for crop, pixels, numbers in zip(self.crops, packed, each, strict=True)
        ]

    def shrink(self, height: int, width: int, draws: Tensor) -> float:
        """How many times smaller an image may be decoded without a crop having to be enlarged."""
        each = torch.split(draws, len(draws) // len(self.crops))
        return min(crop.shrink(height, width, numbers) for crop, numbers in zip(self.crops, each, strict=True))

    def crop_file(self, image: Shrunk, draws: Tensor) -> Tensor:
        """One image of any size to the pixels of its crops one after another, uint8 (n,): they differ in size."""
        each = torch.split(draws, len(draws) // len(self.crops))
        return torch.cat(
            [crop.crop_file(image, numbers).flatten() for crop, numbers in zip(self.crops, each, strict=True)]
        )


def multi_crop(settings: View, images: ImageSet, mean: list[float], std: list[float]) -> MultiCrop:
    """The training view of these images."""
    large = train_view(settings, images, mean, std)
    small = [train_view(settings.of_small_crops(), images, mean, std)] if settings.small.n else []
    return MultiCrop([large] * settings.n_large + small * settings.small.n, settings.n_large)
