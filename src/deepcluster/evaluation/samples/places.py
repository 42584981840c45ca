"""Where images lie among the centroids: one pass through the network, which may also keep its features in a file."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deepcluster.clustering.assignment import SCORES_PER_BLOCK, Assignment
from deepcluster.features.extraction import FeaturePass
from deepcluster.system.atomic import opened_atomically
from deepcluster.system.processor import float32_products


@dataclass(kw_only=True)
class Places:
    """N images among K centroids, by Euclidean distance in the reduced space.

    Args:
        clusters: (N,) int64; -1: none.
        distances: (N,) float32 to the own cluster's centroid; NaN without one.
        margins: (N,) float32, how much farther the nearest other centroid is; below 0 where that is nearer.
    """

    clusters: Tensor
    distances: Tensor
    margins: Tensor

    def ranks(self) -> Tensor:
        """(N,) int64: 1 for the image nearest to its cluster's centroid; 0 for images without a cluster."""
        order = torch.argsort(self.distances.nan_to_num(torch.inf), stable=True)
        order = order[torch.argsort(self.clusters[order], stable=True)]
        of_sorted = self.clusters[order]
        starts = torch.searchsorted(of_sorted, of_sorted)
        ranks = torch.empty_like(order)
        ranks[order] = torch.arange(len(order)) - starts + 1
        ranks[self.clusters < 0] = 0
        return ranks


@torch.no_grad()
def find_places(
    feature_pass: FeaturePass,
    assignment: Assignment,
    *,
    labels: Tensor | None,
    advance: Callable[[int], None],
    among: Tensor | None = None,
    features_to: Path | None = None,
    rows_to: Tensor | None = None,
) -> Places:
    """The places of the images of a pass.

    Args:
        among: (N,) int64, the numbers of the images that are wanted; None: all. N is their number from here on.
        labels: (N,) the clusters; None: those of the nearest centroids.
        features_to: .npy file for the features (N, D) float32; None: they are not kept.
        rows_to: (N, P) float32, is filled with the reduced rows; None: they are not kept.
    """
    chosen = torch.arange(feature_pass.n_images) if among is None else among
    n, done = len(chosen), 0
    clusters = torch.empty(n, dtype=torch.int64) if labels is None else labels.clone()
    distances, margins = torch.empty(n), torch.empty(n)
    offset = -0.5 * assignment.centroids.square().sum(dim=1)  # see nearest_centroid
    offset[assignment.sizes() == 0] = -torch.inf
    with ExitStack() as stack:
        stream = feature_pass.stream(chosen)
        for indices, features in stream if features_to is None else _kept(stream, features_to, n, stack):
            x = features.float().cpu()
            x = x if assignment.reduction is None else assignment.reduction.apply(x)
            at = torch.arange(done, done + len(indices))
            done += len(indices)
            if rows_to is not None:
                rows_to[at] = x
            for part, rows in zip(_blocks(at, assignment.k), _blocks(x, assignment.k), strict=True):
                # only to choose by: the distances themselves are taken from differences, as small ones lose digits
                with float32_products(torch.device("cpu")):
                    scores = torch.addmm(offset, rows, assignment.centroids.T)
                if labels is None:
                    clusters[part] = scores.argmax(dim=1)
                own = clusters[part].clamp(min=0)
                mine = (rows - assignment.centroids[own]).norm(dim=1)
                best = scores.scatter(1, own[:, None], -torch.inf).max(dim=1)
                others = (rows - assignment.centroids[best.indices]).norm(dim=1)
                none = clusters[part] < 0
                distances[part] = mine.masked_fill(none, torch.nan)
                margins[part] = (others - mine).masked_fill(none | best.values.isinf(), torch.nan)
            advance(len(indices))
    return Places(clusters=clusters, distances=distances, margins=margins)


def _blocks(rows: Tensor, k: int) -> tuple[Tensor, ...]:
    return torch.split(rows, max(1, SCORES_PER_BLOCK // k))


def write_features(feature_pass: FeaturePass, path: Path, *, advance: Callable[[int], None]) -> int:
    """Write the features (N, D) float32 of all images as .npy; they are never in memory together.

    Returns:
        D.
    """
    n, dim = feature_pass.n_images, 0
    with ExitStack() as stack:
        for indices, features in _kept(feature_pass.stream(torch.arange(n)), path, n, stack):
            dim = features.shape[1]
            advance(len(indices))
    return dim


def _kept(
    stream: Iterator[tuple[Tensor, Tensor]], path: Path, n: int, stack: ExitStack
) -> Iterator[tuple[Tensor, Tensor]]:
    """The same stream, of images in their order; what passes is written to the file, which the stack closes."""
    file = stack.enter_context(opened_atomically(path))
    is_begun = False
    for indices, features in stream:
        rows = features.float().cpu().numpy().astype("<f4")
        if not is_begun:
            header = {"descr": "<f4", "fortran_order": False, "shape": (n, rows.shape[1])}
            np.lib.format.write_array_header_1_0(file, header)
            is_begun = True
        file.write(rows.tobytes())
        yield indices, features
