"""How well scores rank the positives: precision and recall, and four ways to make one number of them.

The rules differ by some percent on the same ranking, so a figure means nothing without the rule's name. torchmetrics
and scikit-learn have one of the four, :func:`step_area`, torchmetrics in float32; tests compare with both.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

TIE_BREAK = 1e-5  # original: eval_voc_classif.py takes it off the score of every positive
_SLACK = 1e-9  # 3 of 10 positives reach a recall of 0.3 also where 3 / 10 was rounded down


class Curve(NamedTuple):
    """precision and recall (P,), float64, after each distinct score, from the highest score downwards."""

    precision: Tensor
    recall: Tensor


def precision_recall(scores: Tensor, positive: Tensor) -> Curve:
    """The curve of a ranking. Images of equal score come together, so their order in memory changes nothing.

    Args:
        scores: (N,), the higher the earlier; for a ranked list, minus its places.
        positive: (N,) bool, at least one of them true.

    Raises:
        ValueError: if a score is NaN: it has no place in a ranking.
    """
    assert scores.ndim == 1 and scores.shape == positive.shape and bool(positive.any())
    if bool(scores.isnan().any()):
        raise ValueError(f"{int(scores.isnan().sum())} of {len(scores)} scores are NaN; the classifier has diverged")
    ranked, order = scores.double().sort(descending=True, stable=True)
    hits = positive[order].double().cumsum(0)
    shown = torch.arange(1, len(scores) + 1, dtype=torch.float64, device=scores.device)
    last_of_score = torch.cat([ranked[1:] != ranked[:-1], torch.ones(1, dtype=torch.bool, device=scores.device)])
    hits, shown = hits[last_of_score], shown[last_of_score]
    return Curve(hits / shown, hits / hits[-1])


def eleven_point(curve: Curve) -> float:
    """Mean over the recalls 0, 0.1, ..., 1 of the best precision at that recall or a higher one (VOC2007's rule)."""
    best = [curve.precision[curve.recall >= step / 10 - _SLACK].max() for step in range(11)]
    return float(torch.stack(best).mean())


def interpolated_area(curve: Curve) -> float:
    """Area under the best precision at each recall or a higher one: VOC2010's rule, and Goyal et al. 2019's."""
    best = curve.precision.flip(0).cummax(0).values.flip(0)
    return step_area(Curve(best, curve.recall))


def step_area(curve: Curve) -> float:
    """Mean over the positives of the precision at their place, not interpolated: scikit-learn's average_precision."""
    return float((curve.precision * torch.diff(curve.recall, prepend=curve.recall.new_zeros(1))).sum())


def official(scores: Tensor, positive: Tensor) -> float:
    """The 2018 code's: :func:`step_area` after 1e-5 is taken off the positives' scores.

    Ties then count against the classifier, but so does every negative that lies within 1e-5 below a positive: the
    figure depends on the scale of the scores.
    """
    return step_area(precision_recall(scores.double() - TIE_BREAK * positive.double(), positive))


RULES: dict[str, Callable[[Tensor, Tensor], float]] = {
    "11_point": lambda scores, positive: eleven_point(precision_recall(scores, positive)),
    "area": lambda scores, positive: interpolated_area(precision_recall(scores, positive)),
    "step": lambda scores, positive: step_area(precision_recall(scores, positive)),
    "official": official,
}


def class_average_precisions(scores: Tensor, labels: Tensor) -> dict[str, list[float]]:
    """Average precision of each class by each of `RULES`; NaN for a class that no image shows.

    Args:
        scores: (N, C).
        labels: (N, C): 1 present, 0 absent; others (difficult) are left out of the class's ranking.

    Raises:
        ValueError: if no class has a positive, or a score is NaN.
    """
    assert scores.shape == labels.shape
    if not bool((labels == 1).any()):
        raise ValueError("no test image shows any of the classes, so there is no average precision")
    by_rule: dict[str, list[float]] = {rule: [] for rule in RULES}
    for column in range(labels.shape[1]):
        counted = labels[:, column] >= 0
        positive = labels[counted, column] == 1
        for rule, value in RULES.items():
            by_rule[rule].append(value(scores[counted, column], positive) if bool(positive.any()) else float("nan"))
    return by_rule


def means(by_rule: dict[str, list[float]]) -> dict[str, float]:
    """map_RULE: the mean over the classes that have one."""
    return {
        f"map_{rule}": float(torch.tensor(values, dtype=torch.float64).nanmean()) for rule, values in by_rule.items()
    }
