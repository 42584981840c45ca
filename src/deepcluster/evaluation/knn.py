"""How well an image's nearest neighbours tell its class: no training. Next: representation.py."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from deepcluster.evaluation.linear_probe import check_labelled

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


@torch.no_grad()
def knn_accuracy(train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, settings: Knn) -> float:
    """Share of test images (n, M) that the vote of training images (N, M) gets right.

    Memory does not grow with n x N: test images are taken in blocks.

    Raises:
        ValueError: if features and labels do not fit together, an image has no label, or N < k.
    """
    check_labelled(train_x, train_y, "training")
    check_labelled(test_x, test_y, "test")
    if len(train_x) < settings.k:
        raise ValueError(
            f"evaluation.knn.k={settings.k} needs that many labelled training images, "
            f"there are {len(train_x)}; lower it"
        )
    n_classes = int(train_y.max()) + 1
    bank = F.normalize(train_x.float()).T
    n_rows = max(1, MAX_SIMILARITIES // len(train_x))
    right = 0
    for x_rows, y_rows in zip(torch.split(test_x, n_rows), torch.split(test_y, n_rows), strict=True):
        cosine, neighbours = (F.normalize(x_rows.float()) @ bank).topk(settings.k)
        # Relative to the nearest: the same vote, and no overflow at small temperatures.
        weights = ((cosine - cosine[:, :1]) / settings.temperature).exp()
        votes = torch.zeros(len(x_rows), n_classes, device=x_rows.device)
        votes.scatter_add_(1, train_y[neighbours], weights)
        right += int((votes.argmax(1) == y_rows).sum())
    return right / len(test_x)
