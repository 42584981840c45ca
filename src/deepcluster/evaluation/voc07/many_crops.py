"""Several random crops of each image file, for tests that add up a network's answers to them. Next: crop_scores.py.

The reading processes cut them, so that a file is decoded once.
"""

import torch
from torch import Tensor

from deepcluster.data.crops import draw_boxes
from deepcluster.data.shrunk import Shrunk, cut
from deepcluster.data.views import N_DRAWS, TrainView


class RandomCrops(TrainView):
    """The training view, n times of each file: crops uint8 (n, C, S, S) in the workers, flips included."""

    def __init__(
        self,
        n_crops: int,
        size: int,
        crop_scale: list[float],
        crop_ratio: list[float],
        flip: bool,
        *,
        mean: list[float],
        std: list[float],
    ) -> None:
        super().__init__(size, crop_scale, crop_ratio, flip, mean, std, on_files=True)
        self.n_crops = n_crops

    def draw(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """The random numbers of B images, (B, 6 n)."""
        return torch.rand(batch_size, self.n_crops * N_DRAWS, generator=generator)

    def shrink(self, height: int, width: int, draws: Tensor) -> float:
        """How many times smaller an image may be decoded without any crop having to be enlarged."""
        return float(self._boxes(height, width, draws)[:, 2:].min()) / self.size

    def crop_file(self, image: Shrunk, draws: Tensor) -> Tensor:
        """One image of any size and its draws (6 n,) to (n, C, S, S)."""
        flips = (draws.view(self.n_crops, N_DRAWS)[:, 5] < 0.5).tolist()
        crops = []
        for box, flipped in zip(self._boxes(image.height, image.width, draws).tolist(), flips, strict=True):
            crop = cut(image, box, self.size)
            crops.append(crop.flip(-1) if self.flip and flipped else crop)
        return torch.stack(crops)

    def _boxes(self, height: int, width: int, draws: Tensor) -> Tensor:
        with torch.inference_mode():  # all boxes at once: one alone takes longer than its crop
            return draw_boxes(draws.view(self.n_crops, N_DRAWS), height, width, self.scale, self.ratio)

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """uint8 (B, n, C, S, S) to float32 of that shape."""
        return self._normalise(images)
