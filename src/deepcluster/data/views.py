"""Two views of an image: random crops to train on, one fixed crop for features. Next: sampler.py, loader.py.

The random numbers of a view are given: an image's crop is a function of its own six, and its colours of its own nine
after them, so neither the number of workers nor the batch it is in changes it.
"""

import torch
from torch import Tensor

from deepcluster.data import augment
from deepcluster.data.augment import Augmentation, augmentation
from deepcluster.data.crops import central_crop, crop, draw_boxes
from deepcluster.data.images import ImageSet, MemoryImages
from deepcluster.data.shrunk import Shrunk, central_square, cut
from deepcluster.data.view_settings import View

N_DRAWS = 6  # area, ratio, top, left, fallback to the central crop, flip
_PART_BYTES = 2**28  # of float32 pixels at once: a batch of 256 large photographs in memory would take gigabytes


def draw(batch_size: int, generator: torch.Generator, *, colours: bool = False) -> Tensor:
    """(B, 6) float32 uniforms in [0, 1): the random numbers of B images; (B, 15) for views that change colours.

    The first six are the same with and without the others.
    """
    draws = torch.rand(batch_size, N_DRAWS, generator=generator)
    if not colours:
        return draws
    return torch.cat([draws, torch.rand(batch_size, augment.N_DRAWS, generator=generator)], 1)


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
    """RandomResizedCrop, horizontal flip, perhaps changes of colour, normalisation.

    Args:
        size: S, side of the crops as the network sees them.
        crop_scale: smallest and largest share of the area in a crop.
        crop_ratio: smallest and largest width / height.
        flip: flip every second image.
        mean, std: per channel, in [0, 1].
        on_files: workers have cropped already, with `crop_file`: a call only does the rest.
        augmentation: changes of colour, between flip and normalisation.
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
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__(size, mean, std, on_files)
        self.augmentation = augmentation
        self.scale = (float(crop_scale[0]), float(crop_scale[1]))
        self.ratio = (float(crop_ratio[0]), float(crop_ratio[1]))
        self.flip = flip

    def draw(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """The random numbers of B images, (B, 6) or (B, 15), as a call takes them."""
        return draw(batch_size, generator, colours=self.augmentation is not None)

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """uint8 (B, C, H, W) and their draws (B, 6 or 15) to float32 (B, C, S, S), on the images' device."""
        boxes_draws = draws[:, :N_DRAWS].to(images.device)
        flipped = (boxes_draws[:, 5] < 0.5) & self.flip
        # Lightning's bf16-mixed would round pixels in the products below
        with torch.autocast(images.device.type, enabled=False):
            if self.on_files:
                cropped = torch.where(flipped.view(-1, 1, 1, 1), images.flip(-1), images)
            else:
                cropped = self._crop(images, boxes_draws, flipped)
            if self.augmentation is not None:
                cropped = self.augmentation(cropped / 255, draws[:, N_DRAWS:]).mul_(255)
            return self._normalise(cropped)

    def _crop(self, images: Tensor, draws: Tensor, flipped: Tensor) -> Tensor:
        boxes = draw_boxes(draws, images.shape[2], images.shape[3], self.scale, self.ratio)
        parts = zip(*(torch.split(whole, _n_at_once(images)) for whole in (images, boxes, flipped)), strict=True)
        return _joined([crop(part, box, mirrored, self.size) for part, box, mirrored in parts])

    def shrink(self, height: int, width: int, draws: Tensor) -> float:
        """How many times smaller an image may be decoded without its crop having to be enlarged."""
        if min(height, width) < 2 * self.size:  # no crop of it may
            return 1.0
        return min(self._box(height, width, draws)[2:]) / self.size

    def crop_file(self, image: Shrunk, draws: Tensor) -> Tensor:
        """One image of any size and its draws (6,) to its crop, uint8 (C, S, S); not flipped."""
        return cut(image, self._box(image.height, image.width, draws), self.size)

    def _box(self, height: int, width: int, draws: Tensor) -> list[int]:
        with torch.inference_mode():  # some thirty operations on single numbers: a third less time
            box: list[int] = draw_boxes(draws[None], height, width, self.scale, self.ratio)[0].tolist()
        return box


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
        parts = torch.split(images, _n_at_once(images))
        return self._normalise(_joined([central_crop(part.float(), self.resize, self.size) for part in parts]))

    def shrink(self, height: int, width: int) -> float:
        """How many times smaller an image may be decoded without having to be enlarged."""
        return min(height, width) / self.resize

    def crop_file(self, image: Shrunk) -> Tensor:
        """One image of any size to uint8 (C, S, S)."""
        return central_square(image, self.resize, self.size)


def _n_at_once(images: Tensor) -> int:
    """How many of the images (B, C, H, W) may be float32 at a time."""
    return max(1, _PART_BYTES // (4 * images.shape[1:].numel()))


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def train_view(settings: View, images: ImageSet, mean: list[float], std: list[float]) -> TrainView:
    """The training view of these images."""
    on_files = not isinstance(images, MemoryImages)
    return TrainView(
        settings.crop_size,
        settings.crop_scale,
        settings.crop_ratio,
        settings.flip,
        mean,
        std,
        on_files=on_files,
        augmentation=augmentation(settings),
    )


def feature_view(settings: View, images: ImageSet, mean: list[float], std: list[float]) -> FeatureView:
    """The feature view of these images."""
    return FeatureView(settings.size, settings.resize, mean, std, on_files=not isinstance(images, MemoryImages))
