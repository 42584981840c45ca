"""Two views of an image: random crops to train on, one fixed crop for features. Next: sampler.py, loader.py.

The random numbers of a view are given: an image's crop is a function of its own six, so neither the number of
workers nor the batch it is in changes it.
"""

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from deepcluster.data.crops import central_crop, crop, draw_boxes, square
from deepcluster.data.images import ImageSet, MemoryImages
from deepcluster.data.settings import Data

N_DRAWS = 6  # area, ratio, top, left, fallback to the central crop, flip


def draw(batch_size: int, generator: torch.Generator) -> Tensor:
    """(B, 6) float32 uniforms in [0, 1): the random numbers of B images."""
    return torch.rand(batch_size, N_DRAWS, generator=generator)


class _View:
    """Brings uint8 (B, C, H, W) to normalised float32."""

    def __init__(self, size: int, mean: list[float], std: list[float], on_files: bool) -> None:
        self.size = size
        self.on_files = on_files
        self._mean = 255 * torch.tensor(mean).view(-1, 1, 1)
        self._std = 255 * torch.tensor(std).view(-1, 1, 1)

    def _normalise(self, images: Tensor) -> Tensor:
        if self._mean.device != images.device:
            self._mean, self._std = self._mean.to(images.device), self._std.to(images.device)
        return images.float().sub(self._mean).div_(self._std)


class TrainView(_View):
    """RandomResizedCrop, horizontal flip, normalisation.

    Args:
        size: S, side of the crops as the network sees them.
        crop_scale: smallest and largest share of the area in a crop.
        crop_ratio: smallest and largest width / height.
        flip: flip every second image.
        mean, std: per channel, in [0, 1].
        on_files: workers have cropped already, with `crop_file`: a call only flips and normalises.
    """

    def __init__(
        self,
        size: int,
        crop_scale: list[float],
        crop_ratio: list[float],
        flip: bool,
        mean: list[float],
        std: list[float],
        on_files: bool = False,
    ) -> None:
        super().__init__(size, mean, std, on_files)
        self.scale = (float(crop_scale[0]), float(crop_scale[1]))
        self.ratio = (float(crop_ratio[0]), float(crop_ratio[1]))
        self.flip = flip

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """uint8 (B, C, H, W) and their draws (B, 6) to float32 (B, C, S, S), on the images' device."""
        draws = draws.to(images.device)
        flipped = (draws[:, 5] < 0.5) & self.flip
        if self.on_files:
            return self._normalise(torch.where(flipped.view(-1, 1, 1, 1), images.flip(-1), images))
        boxes = draw_boxes(draws, images.shape[2], images.shape[3], self.scale, self.ratio)
        # Lightning's bf16-mixed would round pixels in the products below
        with torch.autocast(images.device.type, enabled=False):
            return self._normalise(crop(images, boxes, flipped, self.size))

    def crop_file(self, image: Tensor, draws: Tensor) -> Tensor:
        """One image uint8 (C, h, w), of any size, and its draws (6,) to its crop, uint8; not flipped."""
        box = draw_boxes(draws[None], image.shape[1], image.shape[2], self.scale, self.ratio)
        top, left, height, width = box[0].tolist()
        cropped: Tensor = TF.resized_crop(image, top, left, height, width, [self.size, self.size], antialias=True)
        return cropped


class FeatureView(_View):
    """Resize of the short side, central crop, normalisation: the same for an image at every reassignment.

    Args:
        size: S, side of the crop.
        resize: length of the short side before the crop; None: S.
        on_files: workers have resized and cropped already, with `crop_file`: a call only normalises.
    """

    def __init__(
        self, size: int, resize: int | None, mean: list[float], std: list[float], on_files: bool = False
    ) -> None:
        super().__init__(size, mean, std, on_files)
        self.resize = resize or size

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W) to float32 (B, C, S, S), on the images' device."""
        if self.on_files:
            return self._normalise(images)
        return self._normalise(central_crop(images.float(), self.resize, self.size))

    def crop_file(self, image: Tensor) -> Tensor:
        """One image uint8 (C, h, w), of any size, to uint8 (C, S, S)."""
        return square(image, self.resize, self.size)


def train_view(settings: Data, images: ImageSet, mean: list[float], std: list[float]) -> TrainView:
    """The training view of these images."""
    on_files = not isinstance(images, MemoryImages)
    return TrainView(
        settings.size, settings.crop_scale, settings.crop_ratio, settings.flip, mean, std, on_files=on_files
    )


def feature_view(settings: Data, images: ImageSet, mean: list[float], std: list[float]) -> FeatureView:
    """The feature view of these images."""
    return FeatureView(settings.size, settings.resize, mean, std, on_files=not isinstance(images, MemoryImages))
