"""A linear SVM that tells one class from the rest, its cost chosen on held-out folds. Used by voc07_svm.py."""

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import LinearSVC

from deepcluster.evaluation.voc07.average_precision import precision_recall, step_area
from deepcluster.system.seeding import mix

FloatArray = NDArray[np.float64]


@dataclass(kw_only=True)
class LinearSvm:
    """scikit-learn's LinearSVC (squared hinge, L2) on features of length 1, as in Goyal et al. 2019.

    Args:
        costs: values of C to choose from, by the average precision on held-out folds.
        n_folds: parts of the training images, each of which is held out once (Goyal et al.: 3).
        few_cost: C where a class has fewer positives than folds, so that there is nothing to choose by.
        positive_weight: how much more a positive counts (Goyal et al.: 2).
        max_iter: of liblinear; where it ends too early the line is used as it is, and their number is told.
    """

    costs: list[float] = field(default_factory=lambda: [0.1, 1.0, 10.0, 100.0])
    n_folds: int = 3
    few_cost: float = 1.0
    positive_weight: float = 2.0
    max_iter: int = 2000

    def __post_init__(self) -> None:
        if not self.costs or min(self.costs) <= 0:
            raise ValueError(f"evaluation.svm.costs must be positive and not empty, got {list(self.costs)}")
        for name, least in (("n_folds", 2), ("max_iter", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"evaluation.svm.{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("few_cost", "positive_weight"):
            if not getattr(self, name) > 0:
                raise ValueError(f"evaluation.svm.{name} must be above 0, got {getattr(self, name)}")


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
    found: FloatArray = torch.nn.functional.normalize(features.double()).numpy()
    return found


def _choose(x: FloatArray, positive: NDArray[np.bool_], settings: LinearSvm, seed: int) -> float:
    """The C of the best mean average precision over the folds; of equal ones the smallest."""
    costs = sorted(settings.costs)
    if len(costs) == 1:
        return costs[0]
    if min(int(positive.sum()), int((~positive).sum())) < settings.n_folds:
        return settings.few_cost
    folds = StratifiedKFold(settings.n_folds, shuffle=True, random_state=mix(seed, "folds") % 2**32)
    found = np.zeros(len(costs))
    for kept, held in folds.split(x, positive):
        for number, cost in enumerate(costs):
            svm, _ = _fit(x[kept], positive[kept], cost, settings, seed)
            scores = torch.from_numpy(svm.decision_function(x[held]))
            found[number] += step_area(precision_recall(scores, torch.from_numpy(positive[held])))
    return costs[int(found.argmax())]


def _fit(x: FloatArray, positive: NDArray[np.bool_], cost: float, settings: LinearSvm, seed: int) -> tuple[Any, bool]:
    svm = LinearSVC(
        C=cost,
        class_weight={True: settings.positive_weight, False: 1.0},
        dual=True,  # features are as many as images or more
        max_iter=settings.max_iter,
        random_state=mix(seed, "liblinear") % 2**31,
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ConvergenceWarning)
        svm.fit(x, positive)
    return svm, not any(issubclass(warning.category, ConvergenceWarning) for warning in told)
