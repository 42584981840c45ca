"""Fine-tunes, and scores VOC2007's test images by logits summed over crops. Next: training.py, average_precision.py."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from deepcluster.data.loader import feature_batches, random_batches
from deepcluster.data.views import TrainView
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.probe.probe_views import TenCropView
from deepcluster.evaluation.voc07.lists import VocSplit
from deepcluster.evaluation.voc07.many_crops import RandomCrops
from deepcluster.evaluation.voc07.settings import FineTuning
from deepcluster.evaluation.voc07.training import fine_tune
from deepcluster.system.seeding import mix

N_CROPS = 10  # original: eval_voc_classif.py
TEST_BATCH = 16  # images, so 160 crops; not a setting, because an image's random crops depend on its batch


def fine_tuned_scores(
    context: EvaluationContext,
    train_split: VocSplit,
    test_split: VocSplit,
    training: FineTuning,
    *,
    fixed_crops_of: int | None,
    num_workers: int,
) -> Tensor:
    """Fine-tune the network; returns its logits (N, C) of the test images, summed over ten crops each.

    Args:
        train_split: the split to train on.
        test_split: the split to test on.
        fixed_crops_of: short side in pixels before the fixed crops (corners, centre, their mirrors) are cut; None:
            random crops as in training.
    """
    size, mean, std = int(context.card["image_size"]), context.card["mean"], context.card["std"]
    crops = (size, training.crop_scale, training.crop_ratio, training.flip)
    classifier = fine_tune(
        context.backbone,
        train_split,
        TrainView(*crops, mean=mean, std=std, on_files=True),
        training,
        folder=context.folder,
        seed=context.seed,
        num_workers=num_workers,
        device=context.device,
        progress=context.progress,
    )
    view: TenCropView | RandomCrops = RandomCrops(N_CROPS, *crops, mean=mean, std=std)
    if fixed_crops_of is not None:
        view = TenCropView(size, fixed_crops_of, mean, std, on_files=True)
    seed, device = mix(context.seed, "voc07", "test"), context.device
    with context.progress.bar("test", len(test_split.images), "img") as advance:
        return summed_logits(
            classifier, test_split, view, num_workers=num_workers, seed=seed, device=device, advance=advance
        )


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
        seed: draws the random crops.
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
