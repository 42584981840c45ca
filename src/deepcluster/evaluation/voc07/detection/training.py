"""Trains a detector and finds the test pictures' objects. Next: matching.py."""

import torch
from torch import Tensor

from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.voc07.detection.annotations import Annotation
from deepcluster.evaluation.voc07.detection.detector import Detector
from deepcluster.evaluation.voc07.detection.matching import Found
from deepcluster.evaluation.voc07.picture_training import train_on_pictures
from deepcluster.evaluation.voc07.pictures import PictureReader, Pictures
from deepcluster.evaluation.voc07.settings import DetectionTraining
from deepcluster.models.backbone import Backbone
from deepcluster.system.seeding import mix


def trained_detector(
    backbone: Backbone,
    stage: str,
    settings: DetectionTraining,
    truth: list[Annotation],
    *,
    n_proposals: int,
    reader: PictureReader,
    context: EvaluationContext,
    name: str,
) -> Detector:
    """Train a detector on the reader's pictures; difficult objects are not learned from.

    Args:
        truth: of each picture.
        n_proposals: of a test picture.
        name: of the training and its state.
    """
    device, short_side = context.device, reader.short_side
    assert short_side is not None
    backbone = backbone.to(device)
    detector = Detector(
        backbone,
        stage,
        settings,
        short_side=short_side,
        n_proposals=n_proposals,
        dtype=context.dtype,
        seed=mix(context.seed, "voc07_detection", "weights"),
    ).to(device)

    def loss(pictures: Pictures, indices: Tensor) -> Tensor:
        targets = [
            target_of(truth[i], image, mirrored) for i, image, mirrored in zip(indices.tolist(), *pictures, strict=True)
        ]
        return torch.stack(list(detector.losses(pictures.images, targets).values())).sum()

    train_on_pictures(
        detector,
        loss,
        settings,
        backbone=backbone,
        reader=reader,
        context=context,
        name=name,
        what={"stage": stage, "short_side": short_side, "max_side": reader.max_side},
    )
    return detector


def target_of(annotation: Annotation, image: Tensor, mirrored: bool) -> dict[str, Tensor]:
    """An image's boxes (n, 4) in its pixels and their labels (n,), from 1, as torchvision takes them."""
    boxes = annotation.scaled_boxes(image.shape[1], image.shape[2], mirrored)
    learned = ~annotation.difficult
    return {
        "boxes": boxes[learned].to(image.device),
        "labels": 1 + annotation.labels[learned].to(image.device),
    }


def find_objects(
    detector: Detector, truth: list[Annotation], *, reader: PictureReader, context: EvaluationContext
) -> list[Found]:
    """The boxes that a detector finds in each of the reader's pictures, in the pixels of their annotations."""
    found = []
    with context.progress.bar("test", len(truth), "img") as advance:
        for image, annotation in zip(reader.each(context.device), truth, strict=True):
            answer = {name: values.cpu() for name, values in detector([image])[0].items()}
            boxes = annotation.original_boxes(answer["boxes"], image.shape[1], image.shape[2])
            found.append(Found(boxes, answer["labels"] - 1, answer["scores"]))
            advance(1)
    return found
