"""A linear SVM that tells one class from the rest, its cost chosen on held-out folds. Next: svm_tasks.py."""

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
    """What an SVM says of the test images, with which C, and whether liblinear came to an end."""

    scores: FloatArray
    cost: float
    converged: bool


def svm_scores(
    train_x: FloatArray, positive: NDArray[np.bool_], test_x: FloatArray, settings: LinearSvm, *, seed: int
) -> SvmScores:
    """Choose C, learn one class against the rest, and score the test images.

    Args:
        train_x: (N, M), rows of length 1.
        positive: (N,), with both kinds.
        test_x: (n, M).
        seed: of the folds and of liblinear's order.

    Raises:
        ValueError: if all training images are of one kind.
    """
    if positive.all() or not positive.any():
        raise ValueError(f"an SVM needs positives and negatives, there are {int(positive.sum())} of {len(positive)}")
    cost = _choose(train_x, positive, settings, seed)
    svm, converged = _fit(train_x, positive, cost, settings, seed)
    return SvmScores(scores=svm.decision_function(test_x), cost=cost, converged=converged)


def unit_rows(features: torch.Tensor) -> FloatArray:
    """Features (N, M) brought to length 1, float64 as liblinear wants them; rows of zeros stay."""
    rows: FloatArray = torch.nn.functional.normalize(features.double()).numpy()
    return rows


def _choose(x: FloatArray, positive: NDArray[np.bool_], settings: LinearSvm, seed: int) -> float:
    """The C of the best mean average precision over the folds; of equal ones the smallest."""
    costs = sorted(settings.costs)
    if len(costs) == 1:
        return costs[0]
    if min(int(positive.sum()), int((~positive).sum())) < settings.n_folds:
        return settings.few_cost
    folds = StratifiedKFold(settings.n_folds, shuffle=True, random_state=mix(seed, "folds") % 2**32)
    sums = np.zeros(len(costs))  # of average precisions over the folds
    for kept, held in folds.split(x, positive):
        for number, cost in enumerate(costs):
            svm, _ = _fit(x[kept], positive[kept], cost, settings, seed)
            scores = torch.from_numpy(svm.decision_function(x[held]))
            sums[number] += step_area(precision_recall(scores, torch.from_numpy(positive[held])))
    return costs[int(sums.argmax())]


def _fit(x: FloatArray, positive: NDArray[np.bool_], cost: float, settings: LinearSvm, seed: int) -> tuple[Any, bool]:
    svm = LinearSVC(
        C=cost,
        class_weight={True: settings.positive_weight, False: 1.0},
        dual=True,  # features are as many as images or more
        max_iter=settings.max_iter,
        random_state=mix(seed, "liblinear") % 2**31,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        svm.fit(x, positive)
    return svm, not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
