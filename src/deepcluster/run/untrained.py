"""The network before it has learned: its figures, with which the trained one is compared, and its features.

run.py measures the trained network by the same source.
"""

import json
from collections.abc import Callable
from pathlib import Path

import torch

from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.describe import describe
from deepcluster.data.images import ImageSet
from deepcluster.evaluation.probe.representation import LabelledSplit, measure
from deepcluster.features.extraction import FeaturePass, feature_pass
from deepcluster.features.reuse import UntrainedFeatures, same_images
from deepcluster.models.backbone import Backbone
from deepcluster.run.parts import Parts
from deepcluster.settings.train import TrainConfig
from deepcluster.system import distributed
from deepcluster.system.atomic import write_atomically

UNTRAINED = "untrained.json"  # in the run's folder


def measures_untrained(config: TrainConfig) -> bool:
    """Whether there is something to compare with; of 0 epochs what is measured at the end is the untrained network."""
    return config.evaluation.enabled and config.evaluation.untrained and config.trainer["max_epochs"] > 0


def measure_untrained(
    config: TrainConfig, parts: Parts, split: LabelledSplit | None, folder: Path
) -> tuple[dict[str, float], Assignment | None]:
    """Figures of the network before training, and its assignment, with which the first epoch's is compared.

    The first epoch clusters the same features with another seed, so the first NMI tells how much two clusterings
    of an untrained network agree. In a run that goes on the checkpoint's assignment takes its place.
    """
    if not (measures_untrained(config) and distributed.is_main_process()):
        return {}, None
    parts.progress.say("measuring the untrained network")
    baseline, _ = parts.clusterer.assign(parts.backbone, device=parts.device, moment="untrained")
    second, _ = parts.clusterer.assign(parts.backbone, device=parts.device, moment="untrained again")
    numbers = describe(second, baseline, parts.images.labels, config.evaluation.nmi_average)
    if split is not None:
        source = probe_source(config, parts, parts.backbone, parts.device)
        numbers |= measure(split, source, config.evaluation, seed=config.seed)
    write_atomically(folder / UNTRAINED, json.dumps(numbers, indent=2).encode())
    return numbers, baseline


def untrained_features(config: TrainConfig, parts: Parts, shared: Path | None) -> UntrainedFeatures:
    """What keeps the untrained network's features for its clusterings, and for the other jobs of a sweep."""
    told = () if shared is None else (same_images(config.data, parts.images), parts.card, config.extraction.batch_size)
    return UntrainedFeatures(
        told=(*told, str(parts.precision.extraction), config.extraction.store_dtype, parts.device.type),
        folder=shared,
        limit_mb=config.extraction.reuse_mb,
        progress=parts.progress,
    )


def probe_source(
    config: TrainConfig, parts: Parts, backbone: Backbone, device: torch.device
) -> Callable[[ImageSet], FeaturePass]:
    def source(images: ImageSet) -> FeaturePass:
        return feature_pass(
            backbone,
            images,
            parts.view(images),
            batch_size=config.extraction.batch_size,
            num_workers=parts.num_workers,
            device=device,
            dtype=parts.precision.extraction,
            convolutional=True,
        )

    return source
