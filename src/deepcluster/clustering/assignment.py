"""The clustering's only result: a pseudo-label for every image. Next: history.py keeps it on disk."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deepcluster.clustering.moments import check_finite
from deepcluster.clustering.pca import FittedReduction
from deepcluster.system.processor import float32_products, rows_per_block

SCORES_PER_BLOCK = 2**22  # 16 MB of float32 scores at a time
SCORES_PER_GPU_BLOCK = 2**27  # 512 MB there: few large products
NUMBERS_PER_BLOCK = 2**24  # 64 MB of float32 rows, a limit that counts where centroids are few
ROWS_PER_BLOCK = 16_384
DTYPES = (torch.float32, torch.float16)  # that features may be stored in; they are computed with in float32


@dataclass(kw_only=True)
class Assignment:
    """N images in K clusters, every cluster used.

    Args:
        labels: (N,) int64 in 0..K-1.
        k: number of clusters K.
        objective: sum over the images of the squared distance, in the reduced space, to the centroid that the
            image is assigned to.
        centroids: (K, P) float32.
        reduction: what brings features (B, D) into the centroids' space; None if they live there.
        n_repaired: clusters that ended empty and took half of another.
        n_squeezed: clusters that ended empty and are not among the K.
        n_merged: clusters beyond those there is room for, which were merged into others.

    Raises:
        ValueError: if labels are out of range, a cluster is empty or a centroid is not finite.
    """

    labels: Tensor
    k: int
    objective: float
    centroids: Tensor
    reduction: FittedReduction | None = None
    n_repaired: int = 0
    n_squeezed: int = 0
    n_merged: int = 0

    def __post_init__(self) -> None:
        if self.labels.ndim != 1 or self.labels.dtype != torch.int64 or len(self.labels) == 0:
            raise ValueError(f"labels must be (N,) int64, got {tuple(self.labels.shape)} {self.labels.dtype}")
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < 0 or high >= self.k:
            raise ValueError(f"labels must be in 0..{self.k - 1}, got {low}..{high}")
        empty = torch.nonzero(self.sizes() == 0).flatten().tolist()
        if empty:
            raise ValueError(f"every cluster must hold an image, {len(empty)} of {self.k} are empty: {empty[:5]}")
        if self.centroids.ndim != 2 or len(self.centroids) != self.k:
            raise ValueError(f"centroids must be ({self.k}, P), got {tuple(self.centroids.shape)}")
        if not torch.isfinite(self.centroids).all():
            raise ValueError("centroids must be finite")

    @property
    def n_outputs(self) -> int:
        """Scores that a head gives: K, and one for each cluster that was squeezed out, which no image ever has.

        original: main.py, top_layer has len(images_lists) outputs, empty lists included.
        """
        return self.k + self.n_squeezed

    def sizes(self) -> Tensor:
        """Number of images in each cluster, (K,) int64."""
        return torch.bincount(self.labels, minlength=self.k)

    def apply(self, features: Tensor) -> Tensor:
        """The cluster of each new image: features (B, D) -> (B,) int64, on their device."""
        reduced = features if self.reduction is None else self.reduction.apply(features)
        return nearest_centroid(reduced, self.centroids.to(reduced.device))

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values only, so that torch.load(weights_only=True) reads it."""
        return {
            "labels": self.labels.to(_smallest_integer(self.k)),
            "k": self.k,
            "objective": self.objective,
            "centroids": self.centroids,
            "reduction": None if self.reduction is None else self.reduction.state_dict(),
            "n_repaired": self.n_repaired,
            "n_squeezed": self.n_squeezed,
            "n_merged": self.n_merged,
        }

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> "Assignment":
        """The assignment that :meth:`state_dict` described."""
        reduction = state["reduction"]
        return cls(
            labels=state["labels"].long(),
            k=state["k"],
            objective=state["objective"],
            centroids=state["centroids"],
            reduction=None if reduction is None else FittedReduction.from_state_dict(reduction),
            n_repaired=state["n_repaired"],
            n_squeezed=state.get("n_squeezed", 0),  # absent before there was a choice
            n_merged=state.get("n_merged", 0),  # files written before there was a clustering that merges
        )


@torch.no_grad()
def nearest_centroid(features: Tensor, centroids: Tensor) -> Tensor:
    """The nearest centroid of each row, by squared distance: (N, P), (K, P) -> (N,) int64, where the rows are.

    |x - c|^2 is smallest where x.c - |c|^2 / 2 is largest: one product per block. Blocks of rows are brought to the
    centroids' device and to float32, so features may be float16, mapped from a file, or more than a GPU holds.
    """
    offset = -0.5 * centroids.square().sum(dim=1)
    block = rows_per_block(len(centroids), centroids.device, on_cpu=SCORES_PER_BLOCK, on_gpu=SCORES_PER_GPU_BLOCK)
    block = max(1, min(block, NUMBERS_PER_BLOCK // centroids.shape[1]))
    labels = torch.empty(len(features), dtype=torch.int64, device=features.device)
    with float32_products(centroids.device):
        for start in range(0, len(features), block):
            scores = torch.addmm(
                offset, read_rows(features, slice(start, start + block), centroids.device), centroids.T
            )
            # torch.max, not argmax: the same index, up to twice as fast
            labels[start : start + block] = torch.max(scores, dim=1).indices
    return labels


@torch.no_grad()
def squared_distance(features: Tensor, labels: Tensor, centroids: Tensor) -> float:
    """The objective: sum over the images of |x - centroid of its label|^2, summed in float64."""
    total, device = 0.0, centroids.device
    for start in range(0, len(features), ROWS_PER_BLOCK):
        block = slice(start, start + ROWS_PER_BLOCK)
        distances = (read_rows(features, block, device) - centroids[labels[block].to(device)]).square()
        total += distances.sum(dtype=sum_dtype(device)).item()
    return total


def read_rows(features: Tensor, which: slice | Tensor, device: torch.device) -> Tensor:
    """These rows in float32 on the device: how a block of stored features becomes numbers to compute with."""
    return features[which].to(device, torch.float32)


def checked_features(features: Tensor) -> Tensor:
    """Features (N, P) as clusterings work on them: float32 or float16, contiguous, without a gradient.

    What is so already is not copied, so that features as large as the memory can be clustered.

    Raises:
        ValueError: if they are no matrix, or one is NaN or infinite.
    """
    if features.ndim != 2:
        raise ValueError(f"features must have shape (N, P), got {tuple(features.shape)}")
    features = features.detach()
    features = (features if features.dtype in DTYPES else features.float()).contiguous()
    check_finite(features)
    return features


def engine_device(engine: str, device: torch.device | str) -> torch.device:
    """Where the engine ("faiss" or "torch") computes: faiss serves CPUs and CUDA only."""
    device = torch.device(device)
    return torch.device("cpu") if engine == "faiss" and device.type != "cuda" else device


def sum_dtype(device: torch.device) -> torch.dtype:
    """What long sums are taken in: float64, except on mps, which has none."""
    return torch.float32 if device.type == "mps" else torch.float64


def _smallest_integer(k: int) -> torch.dtype:
    if k <= 2**8:
        return torch.uint8
    return torch.int16 if k <= 2**15 else torch.int32
