"""Plans and trains the SVMs: one for each class and sample of images. Next: linear_svm.py, then svm_report.py."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from deepcluster.evaluation.context import ProgressDisplay
from deepcluster.evaluation.kept_work import KeptWork
from deepcluster.evaluation.voc07.average_precision import RULES, class_average_precisions
from deepcluster.evaluation.voc07.linear_svm import FloatArray, svm_scores
from deepcluster.evaluation.voc07.lists import ABSENT, PRESENT, VocSplit
from deepcluster.evaluation.voc07.settings import LinearSvm
from deepcluster.system.seeding import generator, mix

NAME = "voc07_svm"


class SplitFeatures(NamedTuple):
    """Features (N, M) of a split's images, with rows of length 1."""

    x: FloatArray
    split: VocSplit


@dataclass(frozen=True)
class Task:
    """One SVM: its class (name and column), number of positives (None: all images) and number of the sample."""

    shots: int | None
    sample: int
    column: int
    class_name: str

    @property
    def key(self) -> str:
        """Its name among the saved results."""
        return f"{'all' if self.shots is None else self.shots}/{self.sample}/{self.class_name}"

    def measure(self, train: SplitFeatures, test: SplitFeatures, svm: LinearSvm, seed: int) -> dict[str, Any]:
        """Train and test; returns average precision by rule (None without test positives), cost and converged."""
        own_seed = mix(seed, "voc07_svm", str(self.shots), self.sample, self.class_name)
        rows = draw_rows(train.split.labels, self.column, self.shots, own_seed).numpy()
        positive = train.split.labels[:, self.column].numpy()[rows] == PRESENT
        answer = svm_scores(train.x[rows], positive, test.x, svm, seed=own_seed)
        numbers: dict[str, Any] = {"cost": answer.cost, "converged": answer.converged}
        labels = test.split.labels[:, self.column, None]
        if not bool((labels == PRESENT).any()):
            return numbers | dict.fromkeys(RULES)
        by_rule = class_average_precisions(torch.from_numpy(np.asarray(answer.scores))[:, None], labels)
        return numbers | {rule: values[0] for rule, values in by_rule.items()}


def plan_tasks(split: VocSplit, shots: Sequence[int | None], n_samples: int, say: Callable[[str], None]) -> list[Task]:
    """The SVMs to train on a split. Numbers of shots above the rarest class's are left out, with a message.

    Raises:
        ValueError: if none is left, or a class has no positives or no negatives.
    """
    n_positive, n_negative = ((split.labels == code).sum(0) for code in (PRESENT, ABSENT))
    fewest, rarest = int(n_positive.min()), split.classes[int(n_positive.argmin())]
    if fewest < 1:
        raise ValueError(f"no image of {split.name} shows the class {rarest}; an SVM needs positives")
    if int(n_negative.min()) < 1:
        everywhere = split.classes[int(n_negative.argmin())]
        raise ValueError(f"no image of {split.name} is without the class {everywhere}; an SVM needs negatives")
    too_many = [n for n in shots if n is not None and n > fewest]
    if too_many:
        left_out = ", ".join(map(str, too_many))
        say(f"{split.name} has only {fewest} images of {rarest}: evaluation.shots {left_out} left out")
    tasks = [
        Task(n, sample, column, class_name)
        for n in dict.fromkeys(n for n in shots if n not in too_many)
        for sample in range(1 if n is None else n_samples)
        for column, class_name in enumerate(split.classes)
    ]
    if not tasks:
        raise ValueError(
            f"evaluation.shots={list(shots)}: {split.name} has only {fewest} images of {rarest}; lower it or add null"
        )
    return tasks


def learn_svms(
    tasks: Sequence[Task],
    features: Callable[[], Sequence[SplitFeatures]],
    svm: LinearSvm,
    *,
    seed: int,
    kept_work: KeptWork,
    progress: ProgressDisplay,
) -> dict[str, dict[str, Any]]:
    """task key -> result of :meth:`Task.measure`; saved results are not computed again.

    Args:
        features: gives the features of the split to train on and of the one to test on; called only if needed.
    """
    results: dict[str, dict[str, Any]] = kept_work.read(NAME) or {}
    if results:
        progress.say(f"continuing after {len(results)} SVMs from {kept_work.file(NAME)}")
    missing = [task for task in tasks if not RULES.keys() <= results.get(task.key, {}).keys()]  # or of older rules
    if not missing:
        return results
    train, test = features()
    progress.say(f"{train.x.shape[1]:,} features of {len(train.x):,} and {len(test.x):,} images")
    with progress.bar("SVMs", len(missing), "svm") as advance:
        for task in missing:
            results[task.key] = task.measure(train, test, svm, seed)
            last_of_sample = task.column == len(train.split.classes) - 1
            if task.shots is None or last_of_sample or task is missing[-1]:  # SVMs of few shots take milliseconds
                kept_work.write(NAME, results)
            advance(1)
    return results


def draw_rows(labels: Tensor, column: int, shots: int | None, seed: int) -> Tensor:
    """The images (n,) to train a class on, ascending, without masked ones (difficult or unlisted).

    Args:
        labels: (N, C): 1 present, 0 absent, -1 masked.
        column: column of the class.
        shots: number of random positives; random negatives are (C - 1) x shots, or fewer if there are not as many.
            None: all images.
    """
    positives, negatives = ((labels[:, column] == code).nonzero()[:, 0] for code in (PRESENT, ABSENT))
    if shots is not None:
        random = generator(seed, "shots")
        positives = positives[torch.randperm(len(positives), generator=random)[:shots]]
        n_negatives = max(1, labels.shape[1] - 1) * shots
        negatives = negatives[torch.randperm(len(negatives), generator=random)[:n_negatives]]
    return torch.cat([positives, negatives]).sort().values
