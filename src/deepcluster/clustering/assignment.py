"""The only result of a clustering: a pseudo-label for every image. Next: history.py writes it to disk."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from deepcluster.clustering.moments import check_finite
from deepcluster.clustering.pca import FittedReduction
from deepcluster.system.processor import float32_products, rows_per_block

SCORES_PER_BLOCK = 2**22  # 16 MB of float32 scores at a time
SCORES_PER_GPU_BLOCK = 2**27  # 512 MB: a GPU is fastest with few large products
NUMBERS_PER_BLOCK = 2**24  # 64 MB of float32 rows: the tighter limit where centroids are few
ROWS_PER_BLOCK = 16_384
FEATURES = "features"  # the space that `apply` takes
STORED_DTYPES = (torch.float32, torch.float16)  # of features; computations are in float32


class SoftLabels(NamedTuple):
    """Each image's M nearest clusters (N, M) int32, the nearest first, and their shares (N, M) float32."""

    numbers: Tensor
    shares: Tensor


@dataclass(kw_only=True)
class Assignment:
    """N images in K clusters, every cluster used but for those that the clustering keeps empty.

    Args:
        labels: (N,) int64 in 0..K-1; -1: an image without a label.
        k: number of clusters K.
        objective: sum over the images of the squared distance, in the reduced space, to the centroid that the
            image is assigned to.
        centroids: (K, P) float32.
        reduction: brings features (B, D) into the centroids' space (B, P); None if they are in it already.
        n_repaired: clusters that ended empty and were given half of another.
        n_squeezed: clusters that ended empty and were left out; they are not among the K.
        n_merged: clusters that the head has no room for and that were merged into others.
        n_unused: clusters that ended empty and were kept as they are; they are among the K, and no image's label.
        space: what was clustered: "features" of the backbone, which `apply` takes, or other rows.
        soft: soft labels beside the hard ones; None: none were asked for.

    Raises:
        ValueError: if labels are out of range, another number of clusters is empty or a centroid is not finite.
    """

    labels: Tensor
    k: int
    objective: float
    centroids: Tensor
    reduction: FittedReduction | None = None
    n_repaired: int = 0
    n_squeezed: int = 0
    n_merged: int = 0
    n_unused: int = 0
    space: str = FEATURES
    soft: SoftLabels | None = None

    def __post_init__(self) -> None:
        if self.labels.ndim != 1 or self.labels.dtype != torch.int64 or len(self.labels) == 0:
            raise ValueError(f"labels must be (N,) int64, got {tuple(self.labels.shape)} {self.labels.dtype}")
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < -1 or high >= self.k:
            raise ValueError(f"labels must be in 0..{self.k - 1}, or -1 for none, got {low}..{high}")
        empty = torch.nonzero(self.sizes() == 0).flatten().tolist()
        if len(empty) != self.n_unused:
            if self.n_unused > 0:
                raise ValueError(f"n_unused={self.n_unused}, but {len(empty)} of {self.k} clusters are empty")
            raise ValueError(f"every cluster must hold an image, {len(empty)} of {self.k} are empty: {empty[:5]}")
        if self.centroids.ndim != 2 or len(self.centroids) != self.k:
            raise ValueError(f"centroids must be ({self.k}, P), got {tuple(self.centroids.shape)}")
        if not torch.isfinite(self.centroids).all():
            raise ValueError("centroids must be finite")

    @property
    def n_outputs(self) -> int:
        """Outputs of a head: K, and one for each cluster that was squeezed out, which is no image's label.

        original: main.py, top_layer has len(images_lists) outputs, empty lists included.
        """
        return self.k + self.n_squeezed

    def sizes(self) -> Tensor:
        """Number of images in each cluster, (K,) int64; images without a label count nowhere."""
        return torch.bincount(self.labels + 1, minlength=self.k + 1)[1:]

    def check_space(self) -> None:
        """Refuse clusters of something else than the backbone's features, in which new images have no place.

        Raises:
            ValueError: with the way out.
        """
        if self.space != FEATURES:
            raise ValueError(
                f"these clusters are of the {self.space} while the network trained, not of the backbone's features, so "
                "new images have no place in them; use the run's checkpoints/final.ckpt, which it writes at its end"
            )

    def apply(self, features: Tensor) -> Tensor:
        """Assign new images to their nearest centroid: features (B, D) -> (B,) int64, on their device.

        Raises:
            ValueError: if something else than the backbone's features was clustered.
        """
        return self.place(features)[0]

    def place(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`apply`, and how far each image is from its centroid, in the reduced space: (B,) float32.

        Raises:
            ValueError: if something else than the backbone's features was clustered.
        """
        self.check_space()
        reduced = features if self.reduction is None else self.reduction.apply(features)
        centroids = self.centroids.to(reduced.device)
        clusters = nearest_centroid(reduced, centroids)
        return clusters, (reduced - centroids[clusters]).norm(dim=1)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values only, so that torch.load(weights_only=True) can read them."""
        return {
            "labels": self.labels.to(_smallest_integer(self.k, signed=bool((self.labels < 0).any()))),
            "k": self.k,
            "objective": self.objective,
            "centroids": self.centroids,
            "reduction": None if self.reduction is None else self.reduction.state_dict(),
            "n_repaired": self.n_repaired,
            "n_squeezed": self.n_squeezed,
            "n_merged": self.n_merged,
            **({"n_unused": self.n_unused} if self.n_unused else {}),
            **({} if self.space == FEATURES else {"space": self.space}),
            **({} if self.soft is None else {"soft": self.soft._asdict()}),
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
            n_squeezed=state.get("n_squeezed", 0),  # older files lack it
            n_merged=state.get("n_merged", 0),  # older files lack it
            n_unused=state.get("n_unused", 0),
            space=state.get("space", FEATURES),
            soft=SoftLabels(**state["soft"]) if "soft" in state else None,
        )


@torch.no_grad()
def nearest_centroid(features: Tensor, centroids: Tensor) -> Tensor:
    """The nearest centroid of each row, by squared distance: (N, P), (K, P) -> (N,) int64, where the rows are."""
    labels = torch.empty(len(features), dtype=torch.int64, device=features.device)

    def keep(block: slice, scores: Tensor) -> None:
        labels[block] = torch.max(scores, dim=1).indices  # the same index as argmax, and up to twice as fast

    over_scores(features, centroids, keep)
    return labels


@torch.no_grad()
def over_scores(features: Tensor, centroids: Tensor, take: Callable[[slice, Tensor], None]) -> None:
    """Hand over x.c - |c|^2 / 2 for rows (N, P) and centroids (K, P), block by block: which rows, scores (B, K).

    |x - c|^2 is smallest where this is largest, which takes one matrix product per block. Each block of rows is moved
    to the centroids' device in float32, so features may be float16, mapped from a file, or larger than a GPU's memory.
    """
    offset = -0.5 * centroids.square().sum(dim=1)
    block = rows_per_block(len(centroids), centroids.device, on_cpu=SCORES_PER_BLOCK, on_gpu=SCORES_PER_GPU_BLOCK)
    block = max(1, min(block, NUMBERS_PER_BLOCK // centroids.shape[1]))
    with float32_products(centroids.device):
        for start in range(0, len(features), block):
            rows = slice(start, start + block)
            take(rows, torch.addmm(offset, read_rows(features, rows, centroids.device), centroids.T))


@torch.no_grad()
def squared_distance(features: Tensor, labels: Tensor, centroids: Tensor) -> float:
    """The objective: the sum over the images of |x - centroid of its label|^2, added up in float64."""
    total, device = 0.0, centroids.device
    for start in range(0, len(features), ROWS_PER_BLOCK):
        block = slice(start, start + ROWS_PER_BLOCK)
        distances = (read_rows(features, block, device) - centroids[labels[block].to(device)]).square()
        total += distances.sum(dtype=sum_dtype(device)).item()
    return total


def read_rows(features: Tensor, which: slice | Tensor, device: torch.device) -> Tensor:
    """Rows of stored features, float32 on the device, to compute with."""
    return features[which].to(device, torch.float32)


def checked_features(features: Tensor) -> Tensor:
    """Features (N, P) as clusterings take them: float32 or float16, contiguous, without a gradient.

    Features that are like this already are not copied, so that they may take most of the memory.

    Raises:
        ValueError: if they are not a matrix, or a value is NaN or infinite.
    """
    if features.ndim != 2:
        raise ValueError(f"features must have shape (N, P), got {tuple(features.shape)}")
    features = features.detach()
    features = (features if features.dtype in STORED_DTYPES else features.float()).contiguous()
    check_finite(features)
    return features


def engine_device(engine: str, device: torch.device | str) -> torch.device:
    """Where the engine ("faiss" or "torch") computes: faiss runs on CPUs and CUDA only."""
    device = torch.device(device)
    return torch.device("cpu") if engine == "faiss" and device.type != "cuda" else device


def sum_dtype(device: torch.device) -> torch.dtype:
    """The type for long sums: float64, but float32 on mps, which has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def _smallest_integer(k: int, *, signed: bool) -> torch.dtype:
    if k <= 2**8 and not signed:
        return torch.uint8
    return torch.int16 if k <= 2**15 else torch.int32
