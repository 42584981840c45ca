"""Build the clusterer: what it clusters, where the rows are kept, which rows it need not compute. Next: parts.py."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

from deepcluster.data.images import ImageSet
from deepcluster.data.views import FeatureView
from deepcluster.features.other_rows import OtherSource, UsedRows
from deepcluster.features.reuse import UntrainedFeatures
from deepcluster.settings.train import TrainConfig
from deepcluster.system.progress import Progress
from deepcluster.training.clusterer import Clusterer


def build_clusterer(
    config: TrainConfig,
    images: ImageSet,
    feature_dim: int,
    *,
    view: FeatureView,
    dtype: torch.dtype,
    num_workers: int,
    progress: Progress,
    folder: Path,
) -> Clusterer:
    """The clusterer of a run; nothing is computed yet.

    Args:
        feature_dim: D of the network.
        view: without augmentation.
        dtype: number type in which features are computed.
        folder: for reduced features that do not fit into memory.

    Raises:
        ValueError: if reduction, storage or other rows do not fit the images and the network.
    """
    clustered_dim = config.rows.clustered_dim(
        config.reduction,
        len(images),
        feature_dim=feature_dim,
        embedding_dim=config.embedding.output_dim(feature_dim),
        n_scores=sum(labeling.capacity(len(images)) for labeling in config.clustering.labelings()),
    )
    storage = config.extraction.storage(
        len(images),
        max(clustered_dim, config.reduction.output_dim(feature_dim)),  # the final clusters are of features
        unit_length=config.reduction.l2 and config.rows.of != "scores",
        folder=folder,
    )
    other, other_dim = other_rows(config, images, num_workers, progress)
    return Clusterer(
        images=images,
        view=view,
        extraction=config.extraction,
        reduction=config.reduction,
        clustering=config.clustering,
        seed=config.seed,
        rows=config.rows.of,
        clustered_dim=clustered_dim,
        other=other,
        other_dim=other_dim,
        other_reduction=getattr(config.other_rows, "reduction", config.reduction),
        other_neighbours=getattr(config.other_rows, "n_neighbours", None),
        dtype=dtype,
        num_workers=num_workers,
        storage=storage,
        progress=progress,
        softness=getattr(config.targets, "softness", 0.0),
        n_soft=getattr(config.targets, "n_soft", 1),
    )


def untrained_features(
    clusterer: Clusterer, images_hash: str, card: dict[str, Any], device: torch.device, shared: Path | None
) -> UntrainedFeatures:
    """Keeps the untrained network's features for its clusterings, and for the other jobs of a sweep."""
    extraction = clusterer.extraction
    # Within one run these do not change.
    run_facts = () if shared is None else (images_hash, card, extraction.batch_size)
    return UntrainedFeatures(
        depends_on=(*run_facts, str(clusterer.dtype), clusterer.storage.dtype_name, device.type),
        folder=shared,
        limit_mb=extraction.reuse_mb,
        progress=clusterer.progress,
    )


def other_rows(
    config: TrainConfig, images: ImageSet, num_workers: int, progress: Progress
) -> tuple[Callable[[torch.device], OtherSource] | None, int]:
    """Makes the rows of another extractor when they are first needed, and keeps them; None if there are none.

    Returns:
        The function, and the numbers D of a row.

    Raises:
        ValueError: if these images have no such rows.
    """
    settings = config.other_rows
    if not isinstance(settings, UsedRows):
        return None, 0
    dim = settings.check_images(images)

    @cache
    def build(device: torch.device) -> OtherSource:
        made = settings.build(
            images,
            seed=config.seed,
            batch_size=config.extraction.batch_size,
            num_workers=num_workers,
            device=device,
        )
        progress.say(f"other rows {made.report}")
        return made

    return build, dim
