"""Several random crops of each image file, to sum a network's logits over. Used by crop_scores.py.

The reading processes cut them, so that each file is decoded only once.
"""

import torch
from torch import Tensor

from deepcluster.data.crops import draw_boxes
from deepcluster.data.shrunk import Shrunk, cut
from deepcluster.data.views import N_DRAWS, TrainView


class RandomCrops(TrainView):
    """The training view, n times for each file. The reading processes give flipped crops, uint8 (n, C, S, S)."""

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
        """Random numbers (B, 6 n) for B images."""
        return torch.rand(batch_size, self.n_crops * N_DRAWS, generator=generator)

    def shrink(self, height: int, width: int, draws: Tensor) -> float:
        """By which factor an image may be shrunk in decoding without a crop having to be enlarged later."""
        return float(self._boxes(height, width, draws)[:, 2:].min()) / self.size

    def crop_file(self, image: Shrunk, draws: Tensor) -> Tensor:
        """The crops (n, C, S, S) of one image of any size by its draws (6 n,)."""
        flips = (draws.view(self.n_crops, N_DRAWS)[:, 5] < 0.5).tolist()
        crops = []
        for box, flipped in zip(self._boxes(image.height, image.width, draws).tolist(), flips, strict=True):
            crop = cut(image, box, self.size)
            crops.append(crop.flip(-1) if self.flip and flipped else crop)
        return torch.stack(crops)

    def _boxes(self, height: int, width: int, draws: Tensor) -> Tensor:
        with torch.inference_mode():  # all boxes at once: drawing a single one takes longer than cutting its crop
            return draw_boxes(draws.view(self.n_crops, N_DRAWS), height, width, self.scale, self.ratio)

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """Normalise uint8 (B, n, C, S, S) to float32 of the same shape."""
        return self._normalise(images)
