"""What a fine-tuned network says of VOC2007's test images: logits, summed over crops. Next: average_precision.py."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from deepcluster.data.loader import feature_batches, random_batches
from deepcluster.evaluation.probe.probe_views import TenCropView
from deepcluster.evaluation.voc07.lists import VocSplit
from deepcluster.evaluation.voc07.many_crops import RandomCrops

N_CROPS = 10  # original: eval_voc_classif.py
TEST_BATCH = 16  # images, 160 crops: fixed, as the random crops of an image depend on its batch


@torch.inference_mode()
def summed_logits(
    classifier: nn.Module,
    split: VocSplit,
    view: TenCropView | RandomCrops,
    *,
    num_workers: int,
    seed: int,
    device: torch.device,
    advance: Callable[[int], object] = lambda n: None,
) -> Tensor:
    """Logits (N, C) of a split's images, summed over each image's crops.

    Args:
        seed: of random crops.
    """
    indices = torch.arange(len(split.images))
    if isinstance(view, TenCropView):
        batches = feature_batches(split.images, view, indices, TEST_BATCH, num_workers)
    else:
        batches = random_batches(split.images, view, indices, TEST_BATCH, num_workers, seed)
    scores = torch.empty(len(indices), len(split.classes))
    for batch in batches:
        images = batch.images.to(device, non_blocking=True)
        crops = view(images) if isinstance(view, TenCropView) else view(images, batch.draws)
        logits = classifier(crops.flatten(0, 1)).view(len(batch.indices), -1, len(split.classes))
        scores[batch.indices] = logits.sum(1).float().cpu()
        advance(len(batch.indices))
    return scores
