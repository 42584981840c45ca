"""Which of a detector's boxes are right, and the average precision of each class by VOC's rules.

A box is right if it overlaps an object of its class by at least half (intersection over union) and no box of a higher
score has found that object. A box whose best object is difficult is left out, and so are difficult objects.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_iou

from deepcluster.evaluation.voc07.average_precision import (
    Curve,
    devkit,
    eleven_point,
    interpolated_area,
    precision_recall,
)
from deepcluster.evaluation.voc07.classes import CLASSES
from deepcluster.evaluation.voc07.detection.annotations import Annotation

LEAST_OVERLAP = 0.5
RIGHT, WRONG, IGNORED = 1, 0, -1
RULES: dict[str, Callable[[Curve], float]] = {"11_point": eleven_point, "devkit": devkit, "area": interpolated_area}


class Found(NamedTuple):
    """A detector's m boxes in one picture: (m, 4) in the annotation's pixels, labels (m,), scores (m,)."""

    boxes: Tensor
    labels: Tensor
    scores: Tensor


def judge(boxes: Tensor, scores: Tensor, objects: Tensor, difficult: Tensor) -> Tensor:
    """Whether the boxes of one class in one picture are right.

    Args:
        boxes, scores: (m, 4) and (m,).
        objects, difficult: (n, 4) and (n,) bool, of the class in the picture.

    Returns:
        (m,) int8: 1 right, 0 wrong, -1 left out.
    """
    judged = torch.full((len(boxes),), WRONG, dtype=torch.int8)
    if len(boxes) == 0 or len(objects) == 0:
        return judged
    overlap, best = box_iou(boxes.double(), objects.double()).max(1)
    is_found = [False] * len(objects)
    for i in scores.argsort(descending=True, stable=True).tolist():
        if overlap[i] < LEAST_OVERLAP:
            continue
        place = int(best[i])
        if difficult[place]:
            judged[i] = IGNORED
        elif not is_found[place]:
            judged[i], is_found[place] = RIGHT, True
    return judged


def average_precisions(found: Sequence[Found], truth: Sequence[Annotation]) -> dict[str, list[float]]:
    """Rule -> average precision of each class; NaN for a class without objects to find, 0 if none is found.

    Args:
        found, truth: of each picture.
    """
    by_rule: dict[str, list[float]] = {rule: [] for rule in RULES}
    for label, n_objects in enumerate(n_objects_of(truth)):
        scores, judged = [torch.zeros(0)], [torch.zeros(0, dtype=torch.int8)]
        for boxes, annotation in zip(found, truth, strict=True):
            mine, theirs = boxes.labels == label, annotation.labels == label
            scores.append(boxes.scores[mine])
            objects, difficult = annotation.boxes[theirs], annotation.difficult[theirs]
            judged.append(judge(boxes.boxes[mine], boxes.scores[mine], objects, difficult))
        all_scores, all_judged = torch.cat(scores), torch.cat(judged)
        counted = all_judged != IGNORED
        right = all_judged[counted] == RIGHT
        nothing = float("nan") if n_objects == 0 else 0.0
        curve = precision_recall(all_scores[counted], right, n_objects) if bool(right.any()) else None
        for rule, value in RULES.items():
            by_rule[rule].append(nothing if curve is None else value(curve))
    return by_rule


def n_objects_of(truth: Sequence[Annotation]) -> list[int]:
    """How many objects of each class there are to find."""
    labels = torch.cat([torch.zeros(0, dtype=torch.int64), *(each.labels[~each.difficult] for each in truth)])
    return torch.bincount(labels, minlength=len(CLASSES)).tolist()
