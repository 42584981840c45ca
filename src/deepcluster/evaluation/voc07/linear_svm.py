"""A linear SVM that separates one class from the rest; its cost C is chosen on held-out folds."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import LinearSVC

from deepcluster.evaluation.voc07.average_precision import precision_recall, step_area
from deepcluster.evaluation.voc07.settings import LinearSvm
from deepcluster.system.seeding import mix

FloatArray = NDArray[np.float64]


@dataclass(kw_only=True)
class SvmScores:
    """An SVM's scores (n,) of the test images, its cost C, and whether liblinear converged."""

    scores: FloatArray
    cost: float
    converged: bool


def svm_scores(
    train_x: FloatArray, positive: NDArray[np.bool_], test_x: FloatArray, settings: LinearSvm, *, seed: int
) -> SvmScores:
    """Choose C, train one class against the rest, and score the test images.

    Args:
        train_x: (N, M), rows of length 1.
        positive: (N,), which training images show the class.
        test_x: (n, M).
        seed: draws the folds and liblinear's order.

    Raises:
        ValueError: if there are no positives or no negatives.
    """
    if positive.all() or not positive.any():
        raise ValueError(f"an SVM needs positives and negatives, there are {int(positive.sum())} of {len(positive)}")
    cost = _chosen_cost(train_x, positive, settings, seed)
    svm, converged = _fit(train_x, positive, cost, settings, seed)
    return SvmScores(scores=svm.decision_function(test_x), cost=cost, converged=converged)


def unit_rows(features: torch.Tensor) -> FloatArray:
    """Features (N, M) with rows of length 1, float64 as liblinear needs it; rows of zeros stay zero."""
    rows: FloatArray = torch.nn.functional.normalize(features.double()).numpy()
    return rows


def _chosen_cost(x: FloatArray, positive: NDArray[np.bool_], settings: LinearSvm, seed: int) -> float:
    """The C with the best mean average precision over the folds; the smallest one of a tie."""
    costs = sorted(settings.costs)
    if len(costs) == 1:
        return costs[0]
    if min(int(positive.sum()), int((~positive).sum())) < settings.n_folds:
        return settings.few_cost
    folds = StratifiedKFold(settings.n_folds, shuffle=True, random_state=mix(seed, "folds") % 2**32)
    sums = np.zeros(len(costs))  # of average precisions over the folds
    for rest, held_out in folds.split(x, positive):
        for number, cost in enumerate(costs):
            svm, _ = _fit(x[rest], positive[rest], cost, settings, seed)
            scores = torch.from_numpy(svm.decision_function(x[held_out]))
            sums[number] += step_area(precision_recall(scores, torch.from_numpy(positive[held_out])))
    return costs[int(sums.argmax())]


def _fit(x: FloatArray, positive: NDArray[np.bool_], cost: float, settings: LinearSvm, seed: int) -> tuple[Any, bool]:
    svm = LinearSVC(
        C=cost,
        class_weight={True: settings.positive_weight, False: 1.0},
        dual=True,  # for at least as many features as images
        max_iter=settings.max_iter,
        random_state=mix(seed, "liblinear") % 2**31,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        svm.fit(x, positive)
    return svm, not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
