"""Project features to points in the plane, and measure how faithful they are. Next: embedding_charts.py draws them."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.manifold import TSNE, trustworthiness
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from deepcluster.data.images import ImageSet
from deepcluster.system.extras import install_extra
from deepcluster.system.seeding import mix
from deepcluster.system.tables import write_csv
from deepcluster.visualization.sample_space import Sample

MOST_TRUSTED = 5_000  # most images for trustworthiness, which needs n x n numbers


def project(
    features: NDArray[np.float32],
    *,
    method: str,
    metric: str,
    perplexity: float,
    n_neighbors: int,
    min_dist: float,
    seed: int,
) -> NDArray[np.float64]:
    """Project features (n, P) to points (n, 2). See :class:`Embedding` for the settings.

    The same seed gives the same points: UMAP runs in one thread for it; t-SNE needs the same number of threads.
    """
    random_state = mix(seed, "embedding", method) % 2**32
    if method == "tsne":
        perplexity = min(perplexity, (len(features) - 1) / 3)
        projection: Any = TSNE(perplexity=perplexity, metric=metric, init="pca", random_state=random_state)
    else:
        projection = umap_library()(
            n_neighbors=min(n_neighbors, len(features) - 1),
            min_dist=min_dist,
            metric=metric,
            random_state=random_state,
            n_jobs=1,
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # UMAP warns that it has one thread only, and of graphs in several parts
        points: NDArray[np.float64] = projection.fit_transform(features).astype(np.float64)
    return points


def umap_library() -> Any:
    """The class UMAP.

    Raises:
        ImportError: if umap-learn is not installed.
    """
    try:
        from umap import UMAP
    except ImportError as error:
        raise ImportError(f"evaluation.method=umap needs an extra: {install_extra('viz')} ({error})") from error
    return UMAP


def faithfulness(sample: Sample, points: NDArray[np.float64], *, k: int, metric: str) -> dict[str, float]:
    """Measure how well the points (n, 2) keep the neighbourhoods of the features.

    Returns:
        trustworthiness (Venna and Kaski 2001; of at most 5,000 images): 1 if each image's k nearest in the plane are
        among its k nearest by features. With labels, knn_label_agreement: the mean share of an image's k nearest in
        the plane that have its label; knn_label_agreement_features: the same by features.
    """
    n = min(len(points), MOST_TRUSTED)
    chosen = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))[:n].numpy()
    features = sample.features.numpy()
    numbers = {
        "trustworthiness": float(trustworthiness(features[chosen], points[chosen], n_neighbors=k, metric=metric))
    }
    if sample.labels is not None:
        numbers["knn_label_agreement"] = label_agreement(points, sample.labels, k, "euclidean")
        numbers["knn_label_agreement_features"] = label_agreement(features, sample.labels, k, metric)
    return {name: value for name, value in numbers.items() if np.isfinite(value)}


def label_agreement(points: NDArray[Any], labels: Tensor, k: int, metric: str) -> float:
    """Mean share of a labelled point's k nearest labelled points with the same label; NaN with fewer than k others."""
    known = labels.numpy() >= 0
    points, classes = points[known], labels.numpy()[known]
    if len(points) <= k:
        return float("nan")
    neighbours = NearestNeighbors(n_neighbors=k, metric=metric).fit(points).kneighbors(return_distance=False)
    return float((classes[neighbours] == classes[:, None]).mean())


def write_points(path: Path, images: ImageSet, sample: Sample, points: NDArray[np.float64]) -> None:
    """Write embedding.csv: name, place, cluster and label of each image of the sample."""

    def rows() -> Iterator[list[object]]:
        for i, index in enumerate(sample.indices.tolist()):
            label = -1 if sample.labels is None else int(sample.labels[i])
            name = "" if label < 0 else images.classes[label] if images.classes else str(label)
            cluster = "" if sample.clusters is None else int(sample.clusters[i])
            yield [images.samples[index], f"{points[i, 0]:.6g}", f"{points[i, 1]:.6g}", cluster, name]

    write_csv(path, ["sample", "x", "y", "cluster", "label"], rows())
