"""A small VGG of 32 px and what its evaluation on VOC's whole pictures is given; it may be stopped in a training."""

from contextlib import contextmanager
from pathlib import Path

import torch

from deepcluster.evaluation.context import EvaluationContext
from deepcluster.features.settings import Extraction
from deepcluster.models.backbone import Backbone
from deepcluster.models.vgg_small import SmallVGG
from deepcluster.weights.recognise import Weights

CARD = {
    "arch": {"_target_": "deepcluster.models.vgg_small.SmallVGG", "blocks": [[8], [16], [16]]},
    **{"in_channels": 3, "image_size": 32, "resize": None, "mean": [0.5] * 3, "std": [0.25] * 3},
}


class Told:
    """Remembers what is said; raises at one batch of a training if asked."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.lines: list[str] = []
        self.done, self.stop_at = 0, stop_at

    @contextmanager
    def bar(self, title, total, unit):
        def advance(n):
            self.done += unit == "batch"
            if self.done == self.stop_at:
                raise KeyboardInterrupt

        yield advance

    def say(self, line):
        self.lines.append(line)


def network(seed: int = 0) -> Backbone:
    torch.manual_seed(seed)
    return SmallVGG(3, 32, blocks=((8,), (16,), (16,))).eval()


def context(folder: Path, backbone: Backbone, *, card=CARD, stop_at=None, dtype=torch.float32, seed=1):
    folder.mkdir(parents=True, exist_ok=True)
    return EvaluationContext(
        backbone=backbone,
        stored=Weights(path=folder / "x.ckpt", format="test", tensors={}, card=card),
        data_settings=None,
        extraction=Extraction(),
        folder=folder,
        seed=seed,
        progress=Told(stop_at),
        device=torch.device("cpu"),
        dtype=dtype,
    )
