"""Loss and accuracies of networks that give class scores by name. For original.py and transfer_training.py."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepcluster.data.images import ImageSet
from deepcluster.data.loader import feature_batches
from deepcluster.data.views import FeatureView

TOP = 5  # top-5 accuracy is measured where there are at least TOP_FROM classes
TOP_FROM = 10


def summed_cross_entropy(
    network: nn.Module, labels: Tensor, *, device: torch.device, autocast: torch.dtype | None = None
) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of a network that gives logits (B, C) by name: cross-entropy, summed over the names.

    Args:
        labels: (N,) of the whole set.
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
    """Share of right answers of each output of a network on labelled test images, by name.

    Of views that give ten crops (B, 10, C, H, W) the crops' softmax is averaged (original: eval_linear.py).
    torchmetrics would divide in float32: the counts are exact, and so is their share.

    Returns:
        By output "accuracy" and, with at least 10 classes, "top5_accuracy".
    """
    assert images.labels is not None
    network.eval()
    right: dict[str, Tensor] = {}
    for batch in feature_batches(images, view, indices, batch_size=batch_size, num_workers=num_workers):
        crops = view(batch.images.to(device, non_blocking=True))
        n_crops = crops.shape[1] if crops.ndim == 5 else 1
        targets = images.labels[batch.indices].to(device)
        pixels = crops.flatten(0, 1) if crops.ndim == 5 else crops
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            outputs = network(pixels.contiguous(memory_format=torch.channels_last))
        for name, logits in outputs.items():
            chances = logits.float().softmax(dim=1).unflatten(0, (-1, n_crops)).mean(dim=1)
            best = chances.topk(min(TOP, chances.shape[1]), dim=1).indices == targets[:, None]
            counts = torch.stack([best[:, 0].sum(), best.any(dim=1).sum()])
            right[name] = right.get(name, torch.zeros_like(counts)) + counts
            n_classes = chances.shape[1]
        advance(len(batch.indices))
    results: dict[str, dict[str, float]] = {}
    for name, counts in right.items():
        first, fifth = counts.tolist()
        results[name] = {"accuracy": first / len(indices)}
        if n_classes >= TOP_FROM:
            results[name]["top5_accuracy"] = fifth / len(indices)
    return results
