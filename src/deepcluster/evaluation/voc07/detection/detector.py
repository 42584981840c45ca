"""The detector: Faster R-CNN on one stage's maps, by torchvision's parts. Next: training.py.

Fast R-CNN takes regions from selective search, a program of its own; here a small network on the same maps proposes
them and learns together with the rest (Ren et al. 2015). A region's maps are brought to the size that the rest of the
network was made for, and go through it: pool5, fc6 and fc7 of AlexNet and VGG, layer4 of a ResNet.
"""

import copy

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import roi_align

from deepcluster.evaluation.voc07.classes import CLASSES
from deepcluster.evaluation.voc07.cut import Maps, Rest, larger_stages, map_shapes, seeded
from deepcluster.evaluation.voc07.settings import DetectionTraining
from deepcluster.models.backbone import Backbone

# Sides of the boxes to start from, of pictures whose short side is 600, and their shapes (Ren et al. 2015).
ANCHORS, SHAPES, SHORT_SIDE = (128, 256, 512), (0.5, 1.0, 2.0), 600
PADDED_TO = 32  # a batch's pictures get a common size, a multiple of it
N_PROPOSED = 2000  # regions of a picture to learn from (Ren et al. 2015)
N_BEFORE = {"training": 12_000, "testing": 6_000}  # of which these are chosen
LEAST_SCORE = 0.01  # of a box that is told; Fast R-CNN tells the best 100 of a picture, whatever their scores


class Detector(nn.Module):
    """Finds VOC's objects.

    Args:
        backbone: copied, not changed.
        stage: whose maps are read; the regions go through what follows it.
        settings: what is trained.
        short_side: of the pictures, in pixels; the sizes of boxes follow it.
        n_proposals: regions of a picture that are looked at when nothing is learned.
        dtype: type in which the convolutions and linear layers compute; all else is float32.
        seed: draws the new weights.
    """

    def __init__(
        self,
        backbone: Backbone,
        stage: str,
        settings: DetectionTraining,
        *,
        short_side: int,
        n_proposals: int,
        dtype: torch.dtype,
        seed: int,
    ) -> None:
        super().__init__()
        backbone = copy.deepcopy(backbone).requires_grad_(True).eval()
        channels, side, _ = map_shapes(backbone)[stage]
        self.maps = Maps(backbone, stage, dtype)
        self.maps.requires_grad_(settings.mode == "all")
        sizes = tuple(max(1, round(size * short_side / SHORT_SIDE)) for size in ANCHORS)
        with seeded(seed):
            rpn_head = RPNHead(channels, len(ANCHORS) * len(SHAPES))
            predictor = FastRCNNPredictor(backbone.feature_dim, 1 + len(CLASSES))
            for layer, deviation in ((predictor.cls_score, 0.01), (predictor.bbox_pred, 0.001)):  # Girshick 2015
                nn.init.normal_(layer.weight, std=deviation)
                nn.init.zeros_(layer.bias)
        self.proposals = RegionProposalNetwork(
            AnchorGenerator((sizes,), (SHAPES,)),
            rpn_head,
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=256,
            positive_fraction=0.5,
            pre_nms_top_n=N_BEFORE,
            post_nms_top_n={"training": N_PROPOSED, "testing": n_proposals},
            nms_thresh=0.7,
        )
        self.regions = RoIHeads(
            RegionMaps(self.maps.stride(backbone.in_channels), side),
            Rest(backbone, stage, dtype),
            predictor,
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=settings.n_regions,
            positive_fraction=0.25,  # Girshick 2015, as the overlap above it
            bbox_reg_weights=None,
            score_thresh=LEAST_SCORE,
            nms_thresh=0.3,
            detections_per_img=100,
        )

    def losses(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The four losses, in training mode.

        Args:
            images: normalised (C, h, w).
            targets: of each, its "boxes" (n, 4) in its pixels and "labels" (n,), from 1.
        """
        maps, batch = self._maps(images)
        proposals, of_proposals = self.proposals(batch, maps, targets)
        _, of_regions = self.regions(maps, proposals, batch.image_sizes, targets)
        return {**of_proposals, **of_regions}

    @torch.inference_mode()
    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        """Of each image its "boxes" (m, 4), "labels" (m,), from 1, and "scores" (m,), in evaluation mode."""
        maps, batch = self._maps(images)
        proposals, _ = self.proposals(batch, maps)
        found, _ = self.regions(maps, proposals, batch.image_sizes)
        return found  # type: ignore[no-any-return]

    def train(self, mode: bool = True) -> "Detector":
        """In training mode too, BatchNorm uses its running statistics."""
        super().train(mode)
        self.maps.eval()
        self.regions.box_head.features.eval()
        return self

    def _maps(self, images: list[Tensor]) -> tuple[dict[str, Tensor], ImageList]:
        height, width = (-(-max(image.shape[side] for image in images) // PADDED_TO) * PADDED_TO for side in (1, 2))
        batch = images[0].new_zeros(len(images), len(images[0]), height, width)
        for place, image in zip(batch, images, strict=True):
            place[:, : image.shape[1], : image.shape[2]] = image
        return {"0": self.maps(batch)}, ImageList(batch, [(image.shape[1], image.shape[2]) for image in images])


class RegionMaps(nn.Module):
    """The maps of regions (R, c, S, S), for torchvision's RoIHeads.

    Args:
        stride: pixels of the image between two places of the maps.
        side: S.
    """

    def __init__(self, stride: float, side: int) -> None:
        super().__init__()
        self.stride, self.side = stride, side

    def forward(self, maps: dict[str, Tensor], boxes: list[Tensor], image_sizes: list[tuple[int, int]]) -> Tensor:
        regions: Tensor = roi_align(maps["0"], boxes, self.side, 1 / self.stride, sampling_ratio=2, aligned=True)
        return regions


def default_stage(backbone: Backbone) -> str:
    """The last stage before the maps become smaller: conv5 of AlexNet, layer3 of a ResNet."""
    return next(iter(larger_stages(backbone)), backbone.stages[-1])
