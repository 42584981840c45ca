"""Trains a fully convolutional network and counts its pixels on the test pictures. Next: overlap.py."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.voc07.picture_training import train_on_pictures
from deepcluster.evaluation.voc07.pictures import PictureReader, Pictures
from deepcluster.evaluation.voc07.segmentation.fcn import FCN
from deepcluster.evaluation.voc07.segmentation.masks import N_CLASSES, VOID, read_mask
from deepcluster.evaluation.voc07.segmentation.overlap import confusion
from deepcluster.evaluation.voc07.settings import SegmentationTraining
from deepcluster.models.backbone import Backbone


def trained_fcn(
    backbone: Backbone,
    skips: int,
    settings: SegmentationTraining,
    masks: list[Path],
    *,
    reader: PictureReader,
    context: EvaluationContext,
    name: str,
) -> FCN:
    """Train on the reader's pictures and their masks.

    Args:
        name: of the training and its state.
    """
    backbone = backbone.to(context.device)
    network = FCN(backbone, skips, settings, context.dtype).to(context.device)

    def loss(pictures: Pictures, indices: Tensor) -> Tensor:
        # one picture after the other: they differ in size, and none sees the border of another
        losses = [
            pixel_loss(network, image, mirrored, read_mask(masks[i]))
            for i, image, mirrored in zip(indices.tolist(), *pictures, strict=True)
        ]
        return torch.stack(losses).mean()

    train_on_pictures(
        network,
        loss,
        settings,
        backbone=backbone,
        reader=reader,
        context=context,
        name=name,
        what={"skips": skips, "short_side": reader.short_side},
    )
    return network


def pixel_loss(network: FCN, image: Tensor, mirrored: bool, mask: Tensor) -> Tensor:
    """Mean cross-entropy over the pixels of one picture that are not void."""
    mask = (mask.flip(-1) if mirrored else mask).long().to(image.device)
    scores = network(image[None], mask.shape[0], mask.shape[1])
    return F.cross_entropy(scores, mask[None], ignore_index=VOID)


@torch.inference_mode()
def counted_pixels(network: FCN, masks: list[Path], *, reader: PictureReader, context: EvaluationContext) -> Tensor:
    """The pixels (21, 21) of all the reader's pictures by true and given class."""
    pixels = torch.zeros(N_CLASSES, N_CLASSES, dtype=torch.int64)
    with context.progress.bar("test", len(masks), "img") as advance:
        for image, file in zip(reader.each(context.device), masks, strict=True):
            mask = read_mask(file)
            scores = network(image[None], mask.shape[0], mask.shape[1])
            pixels += confusion(scores[0].argmax(0).cpu(), mask)
            advance(1)
    return pixels
