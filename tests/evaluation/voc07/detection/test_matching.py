"""VOC's rule of detection: by hand, against a plain loop as the development kit's, and against pycocotools."""

import math
from itertools import pairwise

import pytest
import torch

from deepcluster.evaluation.voc07.classes import CLASSES
from deepcluster.evaluation.voc07.detection.annotations import Annotation
from deepcluster.evaluation.voc07.detection.matching import Found, average_precisions, judge

DOG = CLASSES.index("dog")


def annotation(boxes, labels=None, difficult=None):
    n = len(boxes)
    return Annotation(
        width=100,
        height=100,
        boxes=torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        labels=torch.tensor(labels or [DOG] * n, dtype=torch.int64),
        difficult=torch.tensor(difficult or [False] * n, dtype=torch.bool),
    )


def found(boxes, scores, labels=None):
    return Found(
        torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        torch.tensor(labels or [DOG] * len(boxes), dtype=torch.int64),
        torch.tensor(scores),
    )


def test_average_precision_by_hand():
    """Four dogs; the ranking is right, wrong, right (another picture), wrong (found already), right."""
    truth = [annotation([[0, 0, 10, 10], [50, 50, 70, 70]]), annotation([[20, 20, 40, 40], [60, 60, 90, 90]])]
    boxes = [
        found([[0, 0, 10, 10], [80, 80, 90, 90], [0, 0, 10, 9], [50, 50, 70, 70]], [0.9, 0.8, 0.6, 0.5]),
        found([[20, 20, 40, 40]], [0.7]),
    ]
    by_rule = average_precisions(boxes, truth)
    # precision and recall after each right one: 1/1 at 1/4, 2/3 at 2/4, 3/5 at 3/4; recall 1 is never reached
    area = (1 + 2 / 3 + 3 / 5) / 4
    eleven = (3 * 1 + 3 * 2 / 3 + 2 * 3 / 5) / 11  # recalls 0 .1 .2, .3 .4 .5, .6 .7; 0 at .8, .9 and 1
    assert by_rule["area"][DOG] == pytest.approx(area) and by_rule["11_point"][DOG] == pytest.approx(eleven)
    assert all(math.isnan(value) for label, value in enumerate(by_rule["area"]) if label != DOG)


def test_an_overlap_of_one_half_counts_and_less_does_not():
    objects, easy = torch.tensor([[0.0, 0.0, 10.0, 10.0]]), torch.tensor([False])
    half, less = torch.tensor([[0.0, 0.0, 10.0, 5.0]]), torch.tensor([[0.0, 0.0, 10.0, 4.9]])
    assert judge(half, torch.ones(1), objects, easy).tolist() == [1]
    assert judge(less, torch.ones(1), objects, easy).tolist() == [0]


def test_what_is_difficult_is_neither_right_nor_wrong_nor_missed():
    truth = [annotation([[0, 0, 10, 10], [50, 50, 70, 70]], difficult=[True, False])]
    twice = found([[0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 70, 70]], [0.9, 0.8, 0.7])
    assert judge(twice.boxes, twice.scores, truth[0].boxes, truth[0].difficult).tolist() == [-1, -1, 1]
    assert average_precisions([twice], truth)["area"][DOG] == 1
    only = [annotation([[0, 0, 10, 10]], difficult=[True])]
    assert math.isnan(average_precisions([twice], only)["area"][DOG])  # no dog to find


def test_a_class_that_is_never_found_has_0_and_boxes_of_another_class_do_not_help():
    truth = [annotation([[0, 0, 10, 10]])]
    other = [found([[0, 0, 10, 10]], [0.9], [DOG + 1])]
    by_rule = average_precisions(other, truth)
    assert by_rule["11_point"][DOG] == by_rule["area"][DOG] == 0 and math.isnan(by_rule["area"][DOG + 1])


def test_boxes_claim_their_best_object_even_if_it_is_found():
    """As in the development kit, a second box on an object is wrong though another object would be near enough."""
    objects = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 3.0, 10.0, 13.0]])
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 1.0, 10.0, 11.0]])
    assert judge(boxes, torch.tensor([0.9, 0.8]), objects, torch.zeros(2, dtype=torch.bool)).tolist() == [1, 0]


def scenes(seed, n_pictures=30):
    """Pictures with objects that lie apart, boxes near to them, and boxes anywhere."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.rand(*shape, generator=random)

    truth, boxes = [], []
    for _ in range(n_pictures):
        corners = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0], [50.0, 50.0]])[: int(1 + 4 * draw(1))]
        objects = torch.cat([corners, corners + 15 + 20 * draw(len(corners), 2)], 1)
        truth.append(annotation(objects.tolist(), [DOG + int(2 * draw(1)) for _ in corners]))
        near = objects.repeat(2, 1) + 8 * (draw(2 * len(objects), 4) - 0.5)
        start = 70 * draw(3, 2)
        anywhere = torch.cat([start, start + 5 + 25 * draw(3, 2)], 1)
        all_boxes = torch.cat([near, anywhere])
        labels = [DOG + int(2 * draw(1)) for _ in all_boxes]
        boxes.append(found(all_boxes.tolist(), draw(len(all_boxes)).tolist(), labels))
    return boxes, truth


def as_the_kit_does(boxes, truth, label):
    """Average precision by both rules, after VOC's description, with integers' "+ 1" left to the annotations."""
    ranked = sorted(
        (
            (-score, picture, box)
            for picture, each in enumerate(boxes)
            for box, own, score in zip(each.boxes.tolist(), each.labels.tolist(), each.scores.tolist(), strict=True)
            if own == label
        ),
    )
    claimed, hits, n_objects = set(), [], sum(int((each.labels == label).sum()) for each in truth)
    for _, picture, (left, top, right, bottom) in ranked:
        best, place = 0.0, None
        objects = truth[picture]
        for i, (x0, y0, x1, y1) in enumerate(objects.boxes.tolist()):
            if int(objects.labels[i]) != label:
                continue
            common = max(0.0, min(right, x1) - max(left, x0)) * max(0.0, min(bottom, y1) - max(top, y0))
            overlap = common / ((right - left) * (bottom - top) + (x1 - x0) * (y1 - y0) - common)
            if overlap > best:
                best, place = overlap, (picture, i)
        hits.append(best >= 0.5 and place not in claimed)
        if hits[-1]:
            claimed.add(place)
    recall = [sum(hits[: n + 1]) / n_objects for n in range(len(hits))]
    precision = [sum(hits[: n + 1]) / (n + 1) for n in range(len(hits))]
    best_from = [max(precision[n:]) for n in range(len(precision))]
    eleven = sum(max((p for p, r in zip(precision, recall, strict=True) if r >= t / 10), default=0) for t in range(11))
    steps = [recall[0], *(b - a for a, b in pairwise(recall))]
    return eleven / 11, sum(p * step for p, step in zip(best_from, steps, strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_both_rules_are_those_of_a_plain_loop(seed):
    boxes, truth = scenes(seed)
    by_rule = average_precisions(boxes, truth)
    for label in (DOG, DOG + 1):
        eleven, area = as_the_kit_does(boxes, truth, label)
        assert by_rule["11_point"][label] == pytest.approx(eleven, abs=1e-9)
        assert by_rule["area"][label] == pytest.approx(area, abs=1e-9) and 0.1 < area < 0.95


@pytest.mark.parametrize("seed", range(4))
def test_pycocotools_finds_the_same_boxes_right(seed):
    """Its rule is a third one, the mean over 101 recalls; from our curve it gives its value, by torchmetrics."""
    pytest.importorskip("pycocotools")
    from torchmetrics.detection import MeanAveragePrecision

    from deepcluster.evaluation.voc07.average_precision import precision_recall

    boxes, truth = scenes(seed)
    metric = MeanAveragePrecision(iou_thresholds=[0.5], class_metrics=True)
    metric.update(
        [{"boxes": each.boxes, "labels": each.labels, "scores": each.scores} for each in boxes],
        [{"boxes": each.boxes, "labels": each.labels} for each in truth],
    )
    judged = dict(zip(metric.compute()["classes"].tolist(), metric.compute()["map_per_class"].tolist(), strict=True))
    for label in (DOG, DOG + 1):
        mine = [each.labels == label for each in boxes]
        theirs = [each.labels == label for each in truth]
        right = torch.cat(
            [
                judge(b.boxes[m], b.scores[m], t.boxes[o], t.difficult[o])
                for b, t, m, o in zip(boxes, truth, mine, theirs, strict=True)
            ]
        )
        scores = torch.cat([b.scores[m] for b, m in zip(boxes, mine, strict=True)])
        curve = precision_recall(scores, right == 1, int(sum(o.sum() for o in theirs)))
        reached = [curve.precision[curve.recall >= step / 100 - 1e-9] for step in range(101)]
        assert judged[label] == pytest.approx(sum(float(p.max()) for p in reached if len(p)) / 101, abs=1e-4)
