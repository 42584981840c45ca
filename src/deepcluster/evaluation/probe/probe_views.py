"""The two views of the 2018 linear probe: a random crop and flip to train on, ten fixed crops to test on."""

import torch
from torch import Tensor

from deepcluster.data.crops import central_crop, with_short_side
from deepcluster.data.shrunk import Shrunk, central_square, short_side
from deepcluster.data.views import FeatureView, TrainView

N_CROPS = 10


class RandomCropView(TrainView):
    """Short side to `resize`, the central square of that side, a random crop of `size` in it, flip, normalisation.

    original: eval_linear.py, Resize 256, CenterCrop 256, RandomCrop 224, RandomHorizontalFlip.

    Args:
        size: side S of the crops, in pixels.
        resize: side of the square that they are cut from, in pixels.
        flip: flip an image with probability 1/2.
        mean, std: per channel, in [0, 1].
        on_files: the reading processes have already cropped, by `crop_file`; a call only flips and normalises.
    """

    def __init__(
        self, size: int, resize: int, flip: bool, mean: list[float], std: list[float], on_files: bool = False
    ) -> None:
        super().__init__(size, [1.0, 1.0], [1.0, 1.0], flip, mean, std, on_files=on_files)
        self.resize = resize

    def _crop(self, images: Tensor, draws: Tensor, flipped: Tensor) -> Tensor:
        squares = central_crop(images.float(), self.resize, self.resize)
        corner = self._corner(draws)
        steps = torch.arange(self.size, device=images.device)
        rows = corner[:, :1] + steps
        columns = corner[:, 1:] + steps
        columns = torch.where(flipped[:, None], columns.flip(1), columns)
        batch = torch.arange(len(images), device=images.device).view(-1, 1, 1, 1)
        channels = torch.arange(images.shape[1], device=images.device).view(1, -1, 1, 1)
        return squares[batch, channels, rows[:, None, :, None], columns[:, None, None, :]]

    def shrink(self, height: int, width: int, draws: Tensor) -> float:
        """By which factor an image may be shrunk in decoding without having to be enlarged later."""
        return min(height, width) / self.resize

    def crop_file(self, image: Shrunk, draws: Tensor) -> Tensor:
        """The crop of one image of any size by its draws (6,): uint8 (C, S, S), not flipped."""
        top, left = self._corner(draws[None])[0].tolist()
        return central_square(image, self.resize, self.resize)[:, top : top + self.size, left : left + self.size]

    def _corner(self, draws: Tensor) -> Tensor:
        """Top and left (B, 2), int64, from the third and fourth of each image's draws."""
        room = self.resize - self.size
        return (draws[:, 2:4] * (room + 1)).long().clamp(max=room)


class TenCropView(FeatureView):
    """Short side to `resize`, ten crops of `size`, normalisation: float32 (B, 10, C, S, S).

    original: eval_linear.py --tencrops, Resize 256, TenCrop 224. With on_files the reading processes cut the crops.
    """

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W), or (B, 10, C, S, S) if on_files, to float32 (B, 10, C, S, S)."""
        if self.on_files:
            return self._normalise(images)
        return self._normalise(ten_crops(with_short_side(images.float(), self.resize), self.size))

    def crop_file(self, image: Shrunk) -> Tensor:
        """The ten crops of one image of any size: uint8 (10, C, S, S)."""
        return ten_crops(short_side(image, self.resize)[None], self.size)[0]


def ten_crops(images: Tensor, size: int) -> Tensor:
    """Four corners, the centre, and their mirrors (Krizhevsky et al. 2012) of images (B, C, H, W).

    Returns:
        (B, 10, C, size, size), in the order of torchvision's TenCrop: top left, top right, bottom left, bottom right,
        centre; then the same crops of the mirrored image.

    Raises:
        ValueError: if an image is smaller than a crop.
    """
    height, width = images.shape[-2:]
    if not 1 <= size <= min(height, width):
        raise ValueError(
            f"ten crops of {size}x{size} pixels do not fit into images of {height}x{width} (height x width); "
            f"resize the images' short side to at least {size} (view.resize)"
        )
    return torch.cat([_five_crops(images, size), _five_crops(images.flip(-1), size)], dim=1)


def _five_crops(images: Tensor, size: int) -> Tensor:
    bottom, right = images.shape[-2] - size, images.shape[-1] - size
    centre = (round(bottom / 2), round(right / 2))  # round to even, like torchvision's centre crop
    corners = ((0, 0), (0, right), (bottom, 0), (bottom, right), centre)
    return torch.stack([images[..., top : top + size, left : left + size] for top, left in corners], dim=1)
