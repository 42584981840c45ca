"""Loss and accuracies of networks with several named outputs, each the logits of classes.

Used by original.py (one output per stage) and transfer_training.py (one output).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepcluster.data.images import ImageSet
from deepcluster.data.loader import feature_batches
from deepcluster.data.views import FeatureView

TOP = 5  # top-5 accuracy is measured if there are at least TOP_FROM classes
TOP_FROM = 10


def summed_cross_entropy(
    network: nn.Module, labels: Tensor, *, device: torch.device, autocast: torch.dtype | None = None
) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of a network that gives logits (B, C) by name: cross-entropy, summed over its outputs.

    Args:
        labels: (N,), of all images of the set.
        autocast: type in which the network computes; None: float32.
    """

    def loss(images: Tensor, indices: Tensor) -> Tensor:
        targets = labels[indices].to(device)
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            outputs = network(images.contiguous(memory_format=torch.channels_last))
        return sum((F.cross_entropy(logits.float(), targets) for logits in outputs.values()), torch.zeros(()))

    return loss


@torch.inference_mode()
def accuracies(
    network: nn.Module,
    images: ImageSet,
    indices: Tensor,
    view: FeatureView,
    *,
    batch_size: int,
    num_workers: int,
    device: torch.device,
    autocast: torch.dtype | None = None,
    advance: Callable[[int], object] = lambda n: None,
) -> dict[str, dict[str, float]]:
    """Accuracies of each output of a network on labelled test images.

    If the view gives ten crops (B, 10, C, H, W), the softmax is averaged over them (original: eval_linear.py).
    Counted without torchmetrics, which divides in float32.

    Returns:
        For each output "accuracy" and, with at least 10 classes, "top5_accuracy".
    """
    assert images.labels is not None
    network.eval()
    n_right: dict[str, Tensor] = {}  # first and among the first five, by output
    for batch in feature_batches(images, view, indices, batch_size=batch_size, num_workers=num_workers):
        crops = view(batch.images.to(device, non_blocking=True))
        n_crops = crops.shape[1] if crops.ndim == 5 else 1
        targets = images.labels[batch.indices].to(device)
        pixels = crops.flatten(0, 1) if crops.ndim == 5 else crops
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            outputs = network(pixels.contiguous(memory_format=torch.channels_last))
        for name, logits in outputs.items():
            probabilities = logits.float().softmax(dim=1).unflatten(0, (-1, n_crops)).mean(dim=1)
            hits = probabilities.topk(min(TOP, probabilities.shape[1]), dim=1).indices == targets[:, None]
            counts = torch.stack([hits[:, 0].sum(), hits.any(dim=1).sum()])
            n_right[name] = n_right.get(name, torch.zeros_like(counts)) + counts
            n_classes = probabilities.shape[1]
        advance(len(batch.indices))
    results: dict[str, dict[str, float]] = {}
    for name, counts in n_right.items():
        first, fifth = counts.tolist()
        results[name] = {"accuracy": first / len(indices)}
        if n_classes >= TOP_FROM:
            results[name]["top5_accuracy"] = fifth / len(indices)
    return results
