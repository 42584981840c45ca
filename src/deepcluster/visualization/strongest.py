"""The images that excite each channel most, found in one pass. top_images_pages.py shows them."""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from deepcluster.evaluation.context import EvaluationContext
from deepcluster.features.extraction import FeaturePass
from deepcluster.features.inference import inference_copy
from deepcluster.models.backbone import Backbone
from deepcluster.visualization.response import ChosenStage


class TopImage(NamedTuple):
    """An image among a channel's strongest: its index in the set, its score, and the strongest place of its map."""

    image: int
    score: float
    row: int
    column: int


def strongest_images(
    context: EvaluationContext, source: FeaturePass, stage: ChosenStage, *, by_mean: bool, n_top: int
) -> dict[int, list[TopImage]]:
    """For each chosen channel its `n_top` strongest images, in one pass; images with a score of exactly 0 are left out.

    Args:
        source: the images and how they are read.
        by_mean: see :class:`StageScores`.
    """
    images = source.images
    n_channels, _, width = stage.shape
    # float32: bfloat16 keeps three digits, and many images would share a rank
    network = inference_copy(context.backbone, channels_last=True).to(context.device)
    scored = replace(source, network=StageScores(network, stage.name, by_mean), dtype=torch.float32)
    strongest = Strongest(n_channels, n_top)
    with context.progress.bar(f"top images {stage.name}", len(images), "img") as advance:
        for indices, scores in scored.stream(torch.arange(len(images))):
            scores = scores.cpu()
            for broken in getattr(images, "broken_later", {}):  # replaced by grey: not to be ranked
                scores[indices == broken, :, 0] = -torch.inf
            strongest.update(indices, scores)
            advance(len(indices))
    by_rank = [tensor.tolist() for tensor in (strongest.indices, strongest.scores, strongest.places)]
    return {
        channel: [
            TopImage(index, score, *divmod(place, width))
            for index, score, place in zip(*(ranks[channel] for ranks in by_rank), strict=True)
            if index >= 0 and score not in (0.0, -torch.inf)
        ]
        for channel in stage.channels
    }


@dataclass
class StageScores:
    """The network of a feature pass: images (B, C, H, W) -> (B, c, 2), each channel's score and its strongest place.

    Args:
        backbone: the network.
        stage: the stage whose maps are read.
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

    Of images with equal scores, the first one seen comes first, however they are batched. Ranks that are not filled yet
    have score -infinity and index -1.

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

    def update(self, indices: Tensor, batch: Tensor) -> None:
        """Add a batch: indices of its images (B,), and scores and places (B, c, 2) from :class:`StageScores`."""
        scores = torch.cat([self.scores, batch[:, :, 0].T], dim=1)
        places = torch.cat([self.places, batch[:, :, 1].T.long()], dim=1)
        images = torch.cat([self.indices, indices.expand(self.n_channels, -1)], dim=1)
        order = scores.sort(dim=1, descending=True, stable=True).indices[:, : self.n_top]
        self.scores, self.indices, self.places = (t.gather(1, order) for t in (scores, images, places))
