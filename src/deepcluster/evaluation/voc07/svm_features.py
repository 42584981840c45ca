"""Frozen features of the centre crop, for linear SVMs. Next: svm_tasks.py."""

import torch
from torch import Tensor

from deepcluster.data.images import FileImages
from deepcluster.data.loader import n_workers
from deepcluster.data.views import FeatureView
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.voc07.linear_svm import FloatArray, unit_rows
from deepcluster.features.extraction import FeaturePass, collect
from deepcluster.features.inference import inference_copy
from deepcluster.models.backbone import FEATURES, pool_maps


def unit_features(
    context: EvaluationContext, images: FileImages, stage: str | None, num_workers: int | None
) -> FloatArray:
    """Features (N, M) of all images, rows of length 1.

    Args:
        stage: stage whose maps are used, pooled; None: the last convolutional one; "features": what is clustered.
        num_workers: processes that decode images; None: one per core, at most 8.
    """
    card = context.card
    network = inference_copy(context.backbone, dtype=context.dtype, channels_last=True).to(context.device)

    def forward(batch: Tensor) -> Tensor:
        if stage is None:
            return network.convolutional(batch)
        if stage == FEATURES:
            return network(batch)  # type: ignore[no-any-return]
        return pool_maps(network.stage(batch, stage)).flatten(1)

    feature_pass = FeaturePass(
        network=forward,
        images=images,
        view=FeatureView(int(card["image_size"]), card["resize"], card["mean"], card["std"], on_files=True),
        batch_size=context.extraction.batch_size,
        num_workers=n_workers(
            num_workers, images, batch_size=context.extraction.batch_size, size=int(card["image_size"])
        ),
        device=context.device,
        dtype=context.dtype,
    )
    return unit_rows(collect(feature_pass, torch.arange(len(images))))
