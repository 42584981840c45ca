"""The images that excite each channel most, found in one pass. top_images.py shows them."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from deepcluster.models.backbone import Backbone


@dataclass
class StageScores:
    """Network for a pass: images (B, C, H, W) -> (B, c, 2), each channel's score and its strongest place.

    Args:
        backbone: the network.
        stage: whose maps are read.
        by_mean: the score is the mean over the map (original: visu/activ-retrieval.py); else its maximum.
    """

    backbone: Backbone
    stage: str
    by_mean: bool

    def __call__(self, images: Tensor) -> Tensor:
        """The place is row x width + column, as a float: exact up to maps of 4,000 x 4,000."""
        maps = self.backbone.stage(images, self.stage).float().flatten(2)
        largest, place = maps.max(dim=2)
        return torch.stack([maps.mean(dim=2) if self.by_mean else largest, place.to(maps.dtype)], dim=2)


@dataclass
class Strongest:
    """The n highest scores of each of c channels among all images seen so far, highest first.

    Of equal scores the image that came first stands first, whatever the batches. What is not filled yet scores
    -infinity and has index -1.

    Args:
        n_channels: c.
        n_top: n.
    """

    n_channels: int
    n_top: int
    scores: Tensor = field(init=False)
    indices: Tensor = field(init=False)
    places: Tensor = field(init=False)

    def __post_init__(self) -> None:
        shape = (self.n_channels, self.n_top)
        self.scores = torch.full(shape, -torch.inf)
        self.indices = torch.full(shape, -1, dtype=torch.int64)
        self.places = torch.zeros(shape, dtype=torch.int64)

    def update(self, indices: Tensor, found: Tensor) -> None:
        """Take in a batch: its images' indices (B,), and (B, c, 2) of :class:`StageScores`."""
        scores = torch.cat([self.scores, found[:, :, 0].T], dim=1)
        places = torch.cat([self.places, found[:, :, 1].T.long()], dim=1)
        of = torch.cat([self.indices, indices.expand(self.n_channels, -1)], dim=1)
        order = scores.sort(dim=1, descending=True, stable=True).indices[:, : self.n_top]
        self.scores, self.indices, self.places = (t.gather(1, order) for t in (scores, of, places))
