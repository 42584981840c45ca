"""How well an image's nearest neighbours tell its class: no training. Next: representation.py, knn_sweep.py."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from deepcluster.evaluation.probe.linear_probe import check_labelled

MAX_SIMILARITIES = 2**25  # numbers held at a time: 128 MB in float32


@dataclass(kw_only=True)
class Knn:
    """Vote of the k nearest training images by cosine, each weighing exp(cosine / temperature).

    Args:
        k: neighbours that vote.
        temperature: the smaller, the more the nearest count; 0.07 is Wu et al. 2018's (NPID).
    """

    k: int = 20
    temperature: float = 0.07

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"evaluation.knn.k must be at least 1, got {self.k}")
        if self.temperature <= 0:
            raise ValueError(f"evaluation.knn.temperature must be above 0, got {self.temperature}")


def knn_accuracy(train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, settings: Knn) -> float:
    """Share of test images (n, M) that the weighted vote of training images (N, M) gets right; see below."""
    found = knn_accuracies(train_x, train_y, test_x, test_y, [settings.k], temperature=settings.temperature)
    return found[settings.k]


@torch.no_grad()
def knn_accuracies(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    ks: list[int],
    *,
    temperature: float | None,
    key: str = "evaluation.knn.k",
    progress: Callable[[int], None] | None = None,
) -> dict[int, float]:
    """The same for several k, from one pass: the neighbours of the largest k are sorted, so they hold all others'.

    Memory does not grow with n x N: test images are taken in blocks.

    Args:
        ks: numbers of neighbours.
        temperature: of the weights, see :class:`Knn`; None: every neighbour has one vote, and of classes with equally
            many the one of the smallest number is taken, as scikit-learn does.
        key: the setting's name, for the message.
        progress: called with the number of test images that are done, after each block.

    Returns:
        k -> accuracy, in ascending k.

    Raises:
        ValueError: if features and labels do not fit together, an image has no label, or N < k.
    """
    check_labelled(train_x, train_y, "training")
    check_labelled(test_x, test_y, "test")
    ks = sorted(set(ks))
    if len(train_x) < ks[-1]:
        raise ValueError(f"{key}={ks[-1]} needs that many labelled training images, there are {len(train_x)}; lower it")
    n_classes = int(train_y.max()) + 1
    bank = F.normalize(train_x.float()).T
    n_rows = max(1, MAX_SIMILARITIES // len(train_x))
    right = dict.fromkeys(ks, 0)
    for x_rows, y_rows in zip(torch.split(test_x, n_rows), torch.split(test_y, n_rows), strict=True):
        cosine, neighbours = (F.normalize(x_rows.float()) @ bank).topk(ks[-1])
        # Relative to the nearest: the same vote, and no overflow at small temperatures.
        nearer = cosine - cosine[:, :1]
        weights = torch.ones_like(cosine) if temperature is None else (nearer / temperature).exp()
        classes = train_y[neighbours]
        votes = torch.zeros(len(x_rows), n_classes, device=x_rows.device)
        for fewer, k in zip([0, *ks], ks, strict=False):  # the votes of k are those of fewer and some more
            votes.scatter_add_(1, classes[:, fewer:k], weights[:, fewer:k])
            right[k] += int((votes.argmax(1) == y_rows).sum())
        if progress is not None:
            progress(len(x_rows))
    return {k: n / len(test_x) for k, n in right.items()}
