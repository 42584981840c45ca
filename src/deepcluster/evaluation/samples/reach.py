"""How far a run's pictures lie from their centroids, and so which others fit into no cluster. Next: changes.py."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from deepcluster.evaluation.samples.limit import upper_limit
from deepcluster.system.tables import read_csv

LEAST = 1e-6  # of a distance, so that equal pictures have a ratio


@dataclass(kw_only=True)
class Reach:
    """What distances to the own centroid are usual.

    Args:
        medians: (K,) of each cluster's members; of a cluster without members that of all.
        limit: the largest usual ratio of a distance to its cluster's median.
    """

    medians: Tensor
    limit: float

    @classmethod
    def of(cls, clusters: Tensor, distances: Tensor, k: int) -> "Reach":
        """The reach of N images, at least one of them in a cluster.

        Args:
            clusters: (N,) int64; -1: none.
            distances: (N,) to the own cluster's centroid.
        """
        known = (clusters >= 0) & distances.isfinite()
        clusters, distances = clusters[known], distances[known].float().clamp(min=LEAST)
        medians = torch.full((k,), float(distances.median()))
        order = torch.argsort(distances, stable=True)
        order = order[torch.argsort(clusters[order], stable=True)]
        numbers, sizes = torch.unique_consecutive(clusters[order], return_counts=True)
        starts = sizes.cumsum(0) - sizes
        medians[numbers] = distances[order[starts + (sizes - 1) // 2]]
        return cls(medians=medians, limit=upper_limit(distances / medians[clusters]))

    def fits(self, clusters: Tensor, distances: Tensor) -> Tensor:
        """(N,) bool: whether images are no farther from their centroids than is usual; false without a cluster."""
        ratios = distances / self.medians[clusters.clamp(min=0)]
        return (clusters >= 0) & (ratios <= self.limit)


def read_reach(path: Path, k: int) -> Reach | None:
    """The reach of the images of a clusters.csv; None if there is no file, or none with distances.

    Raises:
        ValueError: naming the file, if a cluster or a distance is no number.
    """
    try:
        rows = [(int(row["cluster"]), float(row["distance"])) for row in read_csv(path) if row.get("distance")]
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path} was changed ({error}); delete it to go on without it") from error
    if not rows:
        return None
    clusters, distances = torch.tensor([one for one, _ in rows]), torch.tensor([far for _, far in rows])
    if int(clusters.max()) >= k:  # the file of another clustering
        return None
    return Reach.of(clusters, distances, k)
