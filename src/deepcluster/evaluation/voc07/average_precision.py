"""Precision and recall of a ranking, and average precision by five rules.

The rules differ by some percent on the same ranking, so every result must name its rule. torchmetrics (in float32) and
scikit-learn have only one of the five, :func:`step_area`; tests compare with both.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

TIE_BREAK = 1e-5  # original: eval_voc_classif.py subtracts it from the score of every positive
_SLACK = 1e-9  # so that 3 of 10 positives reach a recall of 0.3 even if 3 / 10 was rounded down


class Curve(NamedTuple):
    """Precision and recall (P,), float64, after each distinct score, from the highest score to the lowest."""

    precision: Tensor
    recall: Tensor


def precision_recall(scores: Tensor, positive: Tensor, n_positive: int | None = None) -> Curve:
    """The curve of a ranking. Images with equal scores count as one step, so their order does not matter.

    Args:
        scores: (N,), the highest is ranked first.
        positive: (N,) bool, at least one of them true.
        n_positive: number of positives that could have been ranked, as objects that a detector may miss; None: all are.

    Raises:
        ValueError: if a score is NaN.
    """
    assert scores.ndim == 1 and scores.shape == positive.shape and bool(positive.any())
    if bool(scores.isnan().any()):
        raise ValueError(f"{int(scores.isnan().sum())} of {len(scores)} scores are NaN; the classifier has diverged")
    ranked, order = scores.double().sort(descending=True, stable=True)
    hits = positive[order].double().cumsum(0)
    n_ranked = torch.arange(1, len(scores) + 1, dtype=torch.float64, device=scores.device)
    last_of_score = torch.cat([ranked[1:] != ranked[:-1], torch.ones(1, dtype=torch.bool, device=scores.device)])
    hits, n_ranked = hits[last_of_score], n_ranked[last_of_score]
    return Curve(hits / n_ranked, hits / (hits[-1] if n_positive is None else n_positive))


def eleven_point(curve: Curve) -> float:
    """VOC2007's rule: mean, over the recalls 0, 0.1, ..., 1, of the best precision at that recall or a higher one."""
    return _mean_of_best(curve, [step / 10 - _SLACK for step in range(11)])


def devkit(curve: Curve) -> float:
    """The same as code counts it that steps from 0 to 1 by 0.1, as the devkit's: 3, 6 and 7 steps are a bit too far.

    3 x 0.1 is 0.30000000000000004 in float64, so that a recall of exactly 3 / 10 does not reach the point. With few
    positives this is up to .08 less.
    """
    return _mean_of_best(curve, [step * 0.1 for step in range(11)])


def _mean_of_best(curve: Curve, recalls: list[float]) -> float:
    """The mean over these recalls of the best precision at that recall or a higher one; 0 where none is reached."""
    reached = [curve.precision[curve.recall >= least] for least in recalls]
    return float(torch.stack([there.max() if len(there) else there.new_zeros(()) for there in reached]).mean())


def interpolated_area(curve: Curve) -> float:
    """VOC2010's and Goyal et al. 2019's rule: area under the best precision at each recall or a higher one."""
    best = curve.precision.flip(0).cummax(0).values.flip(0)
    return step_area(Curve(best, curve.recall))


def step_area(curve: Curve) -> float:
    """scikit-learn's rule: mean precision at the places of the positives, not interpolated."""
    return float((curve.precision * torch.diff(curve.recall, prepend=curve.recall.new_zeros(1))).sum())


def official(scores: Tensor, positive: Tensor) -> float:
    """The 2018 code's rule: :func:`step_area` after 1e-5 is subtracted from the positives' scores.

    So ties count against the classifier, and so does every negative less than 1e-5 below a positive: the result depends
    on the scale of the scores.
    """
    return step_area(precision_recall(scores.double() - TIE_BREAK * positive.double(), positive))


RULES: dict[str, Callable[[Tensor, Tensor], float]] = {
    "11_point": lambda scores, positive: eleven_point(precision_recall(scores, positive)),
    "area": lambda scores, positive: interpolated_area(precision_recall(scores, positive)),
    "step": lambda scores, positive: step_area(precision_recall(scores, positive)),
    "official": official,
    "devkit": lambda scores, positive: devkit(precision_recall(scores, positive)),
}


def class_average_precisions(scores: Tensor, labels: Tensor) -> dict[str, list[float]]:
    """rule -> average precision of each class, by all `RULES`; NaN for a class that no image shows.

    Args:
        scores: (N, C).
        labels: (N, C): 1 present, 0 absent; -1 is left out of the ranking of the class.

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
    """map_RULE -> mean average precision, over the classes that have one."""
    return {
        f"map_{rule}": float(torch.tensor(values, dtype=torch.float64).nanmean()) for rule, values in by_rule.items()
    }
