"""k-NN accuracy: how well an image's nearest neighbours predict its class. For knn_and_probe.py and knn_sweep.py."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from deepcluster.evaluation.probe.linear_probe import check_labelled
from deepcluster.evaluation.probe.recipes import Knn

MAX_SIMILARITIES = 2**25  # held at a time: 128 MB in float32


def knn_accuracy(train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, settings: Knn) -> float:
    """Share of test images (n, M) that the weighted vote classifies correctly; see :func:`knn_accuracies`."""
    ks, temperature = [settings.k], settings.temperature
    return knn_accuracies(train_x, train_y, test_x, test_y, ks, temperature=temperature)[settings.k]


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
    """Share of the test images (n, M) that the vote of their k nearest training images (N, M) classifies correctly.

    Nearest by cosine. One pass serves all k: the neighbours are sorted, so the first ones are those of a smaller k.
    Test images are taken in blocks, so memory does not grow with n x N.

    Args:
        train_y, test_y: labels (N,) and (n,).
        ks: numbers of neighbours.
        temperature: each neighbour weighs exp(cosine / temperature); None: every neighbour has one vote, and a tie goes
            to the smallest class number, as in scikit-learn.
        key: the setting's name, for the error message.
        progress: called after each block with its number of test images.

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
    n_right = dict.fromkeys(ks, 0)
    for x_rows, y_rows in zip(torch.split(test_x, n_rows), torch.split(test_y, n_rows), strict=True):
        cosine, neighbours = (F.normalize(x_rows.float()) @ bank).topk(ks[-1])
        # Relative to the nearest: same vote, but no overflow at small temperatures.
        nearer = cosine - cosine[:, :1]
        weights = torch.ones_like(cosine) if temperature is None else (nearer / temperature).exp()
        classes = train_y[neighbours]
        votes = torch.zeros(len(x_rows), n_classes, device=x_rows.device)
        for fewer, k in zip(
            [0, *ks], ks, strict=False
        ):  # the votes of k are those of the next smaller k, and some more
            votes.scatter_add_(1, classes[:, fewer:k], weights[:, fewer:k])
            n_right[k] += int((votes.argmax(1) == y_rows).sum())
        if progress is not None:
            progress(len(x_rows))
    return {k: n / len(test_x) for k, n in n_right.items()}
