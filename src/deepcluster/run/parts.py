"""What a run consists of, built and checked. prepare.py makes it; train.py, estimate.py and costs.py use it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from deepcluster.data.images import ImageSet
from deepcluster.data.views import FeatureView, TrainView
from deepcluster.features.precision import Precision
from deepcluster.models.backbone import Backbone
from deepcluster.system import distributed
from deepcluster.system.progress import Progress
from deepcluster.training.clusterer import Clusterer


@dataclass(kw_only=True)
class Parts:
    """What a run consists of, built and checked, before anything long starts."""

    images: ImageSet
    test_images: ImageSet | None
    view: Callable[[ImageSet], FeatureView]
    train_view: TrainView
    backbone: Backbone
    card: dict[str, Any]
    clusterer: Clusterer
    device: torch.device
    precision: Precision
    num_workers: int
    progress: Progress


def choose_device(trainer: dict[str, Any]) -> torch.device:
    """The device that Lightning will train on, asked before there is a Trainer."""
    accelerator = trainer.get("accelerator", "auto")
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", distributed.local_rank())
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")
