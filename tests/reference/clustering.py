"""Plain twins of the clustering room's maths: float64 numpy, loops, nothing streamed or blocked."""

import itertools
import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Float = NDArray[np.float64]
Int = NDArray[np.int64]


def pca_whiten_l2(features: Float, dim: int) -> Float:
    """The 2018 preprocessing: centre, the dim directions of largest variance, unit variance, unit rows."""
    centred = features - features.mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov(centred, rowvar=False))
    largest = np.argsort(variances)[::-1][:dim]
    whitened = centred @ directions[:, largest] / np.sqrt(variances[largest])
    return whitened / np.linalg.norm(whitened, axis=1, keepdims=True)


def lloyd(features: Float, centroids: Float, n_iter: int) -> tuple[Float, Int]:
    """n_iter times: everyone to the nearest centroid, centroids to the mean; then everyone once more."""
    centroids = centroids.copy()
    for _ in range(n_iter):
        labels = nearest(features, centroids)
        for cluster in range(len(centroids)):
            if (labels == cluster).any():
                centroids[cluster] = features[labels == cluster].mean(axis=0)
    return centroids, nearest(features, centroids)


def kmeans_plus_plus(features: Float, numbers: Float) -> list[int]:
    """Greedy k-means++ by random numbers (K, L) in [0, 1): of L candidates that with the smallest sum of distances."""
    weights = np.ones(len(features))
    chosen: list[int] = []
    for row in numbers:
        best, least = -1, math.inf
        for number in row if chosen else row[:1]:
            aim, candidate = number * weights.sum(), 0
            while weights[: candidate + 1].sum() <= aim:
                candidate += 1
            total = _squared_distances(features, [*chosen, candidate]).sum()
            if total < least:
                best, least = candidate, total
        chosen.append(best)
        weights = _squared_distances(features, chosen)
    return chosen


def _squared_distances(features: Float, chosen: list[int]) -> Float:
    """Of each row to the nearest of the chosen ones."""
    return np.min([((features - features[one]) ** 2).sum(axis=1) for one in chosen], axis=0)


def spherical_lloyd(features: Float, centroids: Float, n_iter: int) -> tuple[Float, Int]:
    """k-means as DeepCluster-v2 has it: unit centroids, the largest dot product, an empty cluster keeps its centroid.

    n_iter times an E and an M step, then an E step.
    """
    centroids = centroids / np.linalg.norm(centroids, axis=1, keepdims=True)
    labels = (features @ centroids.T).argmax(axis=1)
    for _ in range(n_iter):
        for cluster in range(len(centroids)):
            members = features[labels == cluster]
            if len(members) > 0:
                centroids[cluster] = members.sum(axis=0) / np.linalg.norm(members.sum(axis=0))
        labels = (features @ centroids.T).argmax(axis=1)
    return centroids, labels


def nearest(features: Float, centroids: Float) -> Int:
    """The nearest centroid of each row, distances written out."""
    distances = ((features[:, None, :] - centroids[None, :, :]) ** 2).sum(axis=2)
    return distances.argmin(axis=1)


def sinkhorn(scores: Float, epsilon: float, n_iter: int) -> Float:
    """The plan (B, K) as SwAV's paper writes it: columns of Q are images, rows prototypes."""
    k, n = scores.shape[1], scores.shape[0]
    plan = np.exp(scores / epsilon).T
    plan = plan / plan.sum()
    for _ in range(n_iter):
        plan = plan / plan.sum(axis=1, keepdims=True) / k
        plan = plan / plan.sum(axis=0, keepdims=True) / n
    return (plan * n).T


def equal_transport(scores: Float) -> Int:
    """The labels (N,) of the largest total score with N / K images in each cluster."""
    k = scores.shape[1]
    seats = np.repeat(scores, len(scores) // k, axis=1)  # each cluster offers N / K seats
    return linear_sum_assignment(seats, maximize=True)[1] // (len(scores) // k)  # type: ignore[no-any-return]


def nmi(a: list[int], b: list[int]) -> float:
    """2 I(a; b) / (H(a) + H(b)) from the definition."""
    n = len(a)
    shares_a = {x: a.count(x) / n for x in set(a)}
    shares_b = {y: b.count(y) / n for y in set(b)}
    pairs = list(zip(a, b, strict=True))
    mutual = 0.0
    for x, y in set(pairs):
        share = pairs.count((x, y)) / n
        mutual += share * math.log(share / (shares_a[x] * shares_b[y]))
    entropy_a = -sum(p * math.log(p) for p in shares_a.values())
    entropy_b = -sum(p * math.log(p) for p in shares_b.values())
    return 2 * mutual / (entropy_a + entropy_b)


def best_match(a: list[int], b: list[int], k: int) -> int:
    """Images on which a and b agree under the best renaming of b's k clusters, by trying all renamings."""
    return max(sum(x == renamed[y] for x, y in zip(a, b, strict=True)) for renamed in itertools.permutations(range(k)))


def images_lists_labels(labels: list[int], k: int) -> tuple[list[int], int]:
    """The 2018 code's way with empty clusters: lists of images, some empty; labels numbered as they occur in order.

    Returns:
        The compacted label of each image, and the outputs of the top layer: one per list, empty ones included.
    """
    images_lists: list[list[int]] = [[] for _ in range(k)]
    for image, label in enumerate(labels):
        images_lists[label].append(image)
    compacted = [-1] * len(labels)
    for number, images in enumerate(images for images in images_lists if images):
        for image in images:
            compacted[image] = number
    return compacted, len(images_lists)
