"""k-NN and linear-probe accuracy of features. Settings: representation.py. Next: knn.py, linear_probe.py."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from deepcluster.data.images import ImageSet
from deepcluster.evaluation.probe.knn import knn_accuracy
from deepcluster.evaluation.probe.labelled_split import LabelledSplit
from deepcluster.evaluation.probe.linear_probe import fit_probe
from deepcluster.evaluation.probe.recipes import Knn, LinearProbe
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
) -> dict[str, float]:
    """k-NN and linear-probe accuracy on the test images of `split`.

    Args:
        feature_pass: gives, for a set of images, the forward pass through the stage to probe.
        seed: draws the probe's held-out part and its order of batches.

    Returns:
        knn_accuracy and linear_probe_accuracy, in [0, 1], and linear_probe_lr, the chosen learning rate.
    """
    train_pass, test_pass = feature_pass(split.train), feature_pass(split.test)
    train_x, test_x = collect(train_pass, split.train_indices), collect(test_pass, split.test_indices)
    with _on_gpu_if_room(train_pass.device, train_x, split.train_y, test_x, split.test_y) as (
        train_x,
        train_y,
        test_x,
        test_y,
    ):
        neighbours = knn_accuracy(train_x, train_y, test_x, test_y, knn)
        probe = fit_probe(train_x, train_y, test_x, test_y, linear_probe, seed=mix(seed, "probe"))
    return {
        "knn_accuracy": neighbours,
        "linear_probe_accuracy": probe.accuracy,
        "linear_probe_lr": probe.learning_rate,
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
