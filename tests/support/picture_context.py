"""A tiny network and what an evaluation of it is given, for tests of evaluations and pictures."""

from pathlib import Path

import torch
from support.images_of import Settings, images_of
from support.tiny import CARD

from deepcluster.data.images import ImageSet
from deepcluster.data.view_settings import View
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.features.settings import Extraction
from deepcluster.models.backbone import Backbone
from deepcluster.models.lenet import LeNet5
from deepcluster.system.progress import Progress
from deepcluster.weights.recognise import Weights


def network() -> Backbone:
    torch.manual_seed(4)
    return LeNet5(1, 16, batch_norm=True).eval()


def context(folder: Path, of: ImageSet, backbone: Backbone, data: Settings | None = None) -> EvaluationContext:
    settings = data or images_of(num_workers=0)
    made = EvaluationContext(
        backbone=backbone,
        stored=Weights(path=folder / "file", format="none", tensors={}, card=CARD),
        data_settings=settings.data,
        reading=settings.reading,
        view=View(size=16),
        extraction=Extraction(batch_size=17),
        folder=folder,
        seed=1,
        progress=Progress(bars=False),
        device=torch.device("cpu"),
    )
    made.__dict__["train_images"] = of
    return made
