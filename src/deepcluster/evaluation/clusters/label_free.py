"""Scores of a clustering that need no labels, to choose K by: silhouette and predictability.

A third one, the agreement of clusterings from different seeds, is mean_pairwise_nmi of clustering/metrics.py.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances, silhouette_score
from torch import Tensor

from deepcluster.clustering.reduction import Reduction
from deepcluster.evaluation.probe.linear_probe import fit_probe
from deepcluster.evaluation.probe.recipes import LinearProbe

# Enough for 128 whitened components: more epochs or other rates change the accuracy less than another seed does.
PREDICTOR = LinearProbe(epochs=10, learning_rates=[0.03])


def distances(features: Tensor) -> NDArray[np.float64]:
    """Euclidean distances (n, n) between the rows (n, P), 0 on the diagonal."""
    between: NDArray[np.float64] = pairwise_distances(features.double().cpu().numpy())
    return between


def silhouette(between: NDArray[np.float64], clusters: Tensor) -> float | None:
    """Mean silhouette (Rousseeuw 1987) of a sample, in [-1, 1]: is an image nearer to its own cluster than to others?

    Args:
        between: from :func:`distances`, of the features that were clustered; one matrix serves every K.
        clusters: (n,) of the same images.

    Returns:
        None if the sample has fewer than two clusters, or no two images of one cluster.
    """
    n_clusters = len(torch.unique(clusters))
    if not 2 <= n_clusters < len(clusters):
        return None
    return float(silhouette_score(between, clusters.cpu().numpy(), metric="precomputed"))


@dataclass(kw_only=True)
class Pixels:
    """The reduced pixels of n sampled images, from which clusters are predicted.

    Args:
        indices: (n,), the images' places in their set.
        train_x: (n // 2, M), the first half, to train on.
        test_x: (n - n // 2, M), the second half, to test on.
    """

    indices: Tensor
    train_x: Tensor
    test_x: Tensor


def reduce_pixels(indices: Tensor, pixels: Tensor, dim: int) -> Pixels:
    """The first `dim` whitened principal components of pixels (n, M), fitted on the first half."""
    n_train = len(pixels) // 2
    reduction = Reduction(dim=min(dim, pixels.shape[1], n_train), whiten=True, l2=False).fit_rows(pixels[:n_train])
    reduced = reduction.apply(pixels)
    return Pixels(indices=indices, train_x=reduced[:n_train], test_x=reduced[n_train:])


def predictability(pixels: Pixels, clusters: Tensor, *, seed: int) -> tuple[float, float]:
    """How well softmax regression on pixels, trained on half of a sample, predicts the clusters of the other half.

    Why pixels and not the clustered features: k-means cells are convex polytopes. A linear model of the clustered
    features can always separate them, so its accuracy would only depend on the sample size. Pixels are the same for
    all networks, K and dimensions, so the scores are comparable: they say whether the clusters are a simple function
    of the image or an accident of one random network.

    Args:
        pixels: from :func:`reduce_pixels`.
        clusters: (N,) of all images.
        seed: of the order of the batches.

    Returns:
        The accuracy, and its gain over always predicting the commonest cluster: (accuracy - share) / (1 - share), which
        depends less on K; 0 if all images are in one cluster.
    """
    of_sample = clusters[pixels.indices]
    train_y, test_y = of_sample[: len(pixels.train_x)], of_sample[len(pixels.train_x) :]
    accuracy = fit_probe(pixels.train_x, train_y, pixels.test_x, test_y, PREDICTOR, seed=seed).accuracy
    commonest = float((test_y == torch.mode(train_y).values).double().mean())
    return accuracy, (accuracy - commonest) / (1 - commonest) if commonest < 1 else 0.0
