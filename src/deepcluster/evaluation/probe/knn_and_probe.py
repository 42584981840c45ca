"""k-NN, linear probe and clusters of features, by labels. Settings: representation.py. Next: knn.py."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from deepcluster.data.images import ImageSet
from deepcluster.evaluation.clusters.class_clusters import nmi_of_class_clusters
from deepcluster.evaluation.probe.knn import knn_accuracy
from deepcluster.evaluation.probe.labelled_split import LabelledSplit
from deepcluster.evaluation.probe.linear_probe import fit_probe
from deepcluster.evaluation.probe.recipes import Knn, LinearProbe
from deepcluster.evaluation.probe.whitened import whitened
from deepcluster.features.extraction import FeaturePass, collect
from deepcluster.system.processor import float32_products, has_room
from deepcluster.system.seeding import mix


def measure_features(
    split: LabelledSplit,
    feature_pass: Callable[[ImageSet], FeaturePass],
    *,
    knn: Knn,
    linear_probe: LinearProbe,
    seed: int,
    nmi_average: str = "arithmetic",
) -> dict[str, float]:
    """Figures of a network on the images of `split`, see :func:`measure_rows`.

    Args:
        feature_pass: gives, for a set of images, the forward pass through the stage to probe.
    """
    train_pass, test_pass = feature_pass(split.train), feature_pass(split.test)
    train_x, test_x = collect(train_pass, split.train_indices), collect(test_pass, split.test_indices)
    return measure_rows(
        *(train_x, split.train_y, test_x, split.test_y),
        device=train_pass.device,
        knn=knn,
        linear_probe=linear_probe,
        seed=seed,
        nmi_average=nmi_average,
    )


def measure_rows(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    *,
    device: torch.device,
    knn: Knn,
    linear_probe: LinearProbe,
    seed: int,
    nmi_average: str = "arithmetic",
) -> dict[str, float]:
    """k-NN and linear-probe accuracy on the test images, and NMI of as many clusters as classes.

    Args:
        train_x, test_x: rows (N, M) and (n, M); train_y, test_y: labels (N,) and (n,).
        device: a GPU is used if it has room for the rows.
        seed: draws the probe's held-out part and its order of batches, and the starts of k-means.
        nmi_average: see :func:`deepcluster.clustering.metrics.nmi`.

    Returns:
        knn_accuracy, knn_whitened_accuracy (of rows whose first 128 principal components are whitened) and
        linear_probe_accuracy, in [0, 1]; linear_probe_lr, the chosen learning rate; nmi_classes, see
        :func:`~deepcluster.evaluation.clusters.class_clusters.nmi_of_class_clusters`.
    """
    with _on_gpu_if_room(device, train_x, train_y, test_x, test_y) as (train_x, train_y, test_x, test_y):
        neighbours = knn_accuracy(train_x, train_y, test_x, test_y, knn)
        white_train, white_test = whitened(train_x, test_x, seed=seed)
        white_neighbours = knn_accuracy(white_train, train_y, white_test, test_y, knn)
        probe = fit_probe(train_x, train_y, test_x, test_y, linear_probe, seed=mix(seed, "probe"))
        clusters = nmi_of_class_clusters(train_x, train_y, test_x, test_y, seed=seed, average=nmi_average)
    return {
        "knn_accuracy": neighbours,
        "knn_whitened_accuracy": white_neighbours,
        "linear_probe_accuracy": probe.accuracy,
        "linear_probe_lr": probe.learning_rate,
        "nmi_classes": clusters,
    }


@contextmanager
def _on_gpu_if_room(device: torch.device, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Move the tensors to `device` if it is a GPU with three times their memory free; matmuls there are in float32."""
    if device.type != "cuda":  # other accelerators lack the float64 of the features' moments
        yield tensors
        return
    moves = has_room(device, sum(tensor.nbytes for tensor in tensors), share=1 / 3)
    with float32_products(device):
        yield tuple(tensor.to(device) for tensor in tensors) if moves else tensors
