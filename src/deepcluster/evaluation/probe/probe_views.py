"""The two views of the 2018 linear probe: a random crop and flip to learn from, ten fixed crops to test on."""

import torch
from torch import Tensor

from deepcluster.data.crops import central_crop, with_short_side
from deepcluster.data.shrunk import Shrunk, central_square, short_side
from deepcluster.data.views import FeatureView, TrainView
from deepcluster.evaluation.probe.ten_crops import ten_crops

N_CROPS = 10


class RandomCropView(TrainView):
    """Short side to `resize`, central square of that side, a random crop of `size` in it, flip, normalisation.

    original: eval_linear.py, Resize 256, CenterCrop 256, RandomCrop 224, RandomHorizontalFlip.

    Args:
        size: S, side of the crops.
        resize: side of the square that they are cut from.
        flip: flip every second image.
        mean, std: per channel, in [0, 1].
        on_files: the reading processes have cropped already, by `crop_file`; a call only flips and normalises.
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
        """How many times smaller an image may be decoded without having to be enlarged."""
        return min(height, width) / self.resize

    def crop_file(self, image: Shrunk, draws: Tensor) -> Tensor:
        """One image of any size and its draws (6,) to its crop, uint8 (C, S, S); not flipped."""
        top, left = self._corner(draws[None])[0].tolist()
        return central_square(image, self.resize, self.resize)[:, top : top + self.size, left : left + self.size]

    def _corner(self, draws: Tensor) -> Tensor:
        """(B, 2) int64, top and left, from the third and fourth number of each image's draws."""
        room = self.resize - self.size
        return (draws[:, 2:4] * (room + 1)).long().clamp(max=room)


class TenCropView(FeatureView):
    """Short side to `resize`, ten crops of `size`, normalisation: float32 (B, 10, C, S, S).

    original: eval_linear.py --tencrops, Resize 256, TenCrop 224. The reading processes give files as (10, C, S, S).
    """

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W), or (B, 10, C, S, S) if on_files, to float32 (B, 10, C, S, S)."""
        if self.on_files:
            return self._normalise(images)
        return self._normalise(ten_crops(with_short_side(images.float(), self.resize), self.size))

    def crop_file(self, image: Shrunk) -> Tensor:
        """One image of any size to uint8 (10, C, S, S)."""
        return ten_crops(short_side(image, self.resize)[None], self.size)[0]
