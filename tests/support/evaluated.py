"""What an evaluation is given, made by hand: a context on sets in memory, and one who remembers what was said."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepcluster.clustering.assignment import Assignment
from deepcluster.data.images import MemoryImages
from deepcluster.data.settings import Arrays
from deepcluster.data.view_settings import View
from deepcluster.evaluation.context import EvaluationContext, Untrained
from deepcluster.features.settings import Extraction
from deepcluster.models.backbone import Backbone
from deepcluster.models.lenet import LeNet5
from deepcluster.system.seeding import generator
from deepcluster.weights.recognise import Weights


class Said:
    """A teller without a terminal."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextmanager
    def bar(self, title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        yield lambda n: None

    def say(self, line: str) -> None:
        self.lines.append(line)


def pictures(n: int, seed: int, *, name: str = "train", n_classes: int = 4, n_channels: int = 1) -> MemoryImages:
    """Bright squares, in noise, at a place that tells the class in most of them."""
    random = generator("pictures", seed)
    labels = torch.randint(n_classes, (n,), generator=random)
    shown = torch.where(torch.rand(n, generator=random) < 0.8, labels, torch.randint(n_classes, (n,), generator=random))
    pixels = torch.randint(0, 60, (n, n_channels, 16, 16), generator=random, dtype=torch.uint8)
    for i, place in enumerate(shown.tolist()):
        pixels[i, :, 4 * place : 4 * place + 4, 2:10] += 150
    return MemoryImages(images=pixels, samples=[f"{name}/{i}" for i in range(n)], labels=labels)


def context(
    folder: Path,
    train: MemoryImages,
    test: MemoryImages | None = None,
    *,
    assignment: Assignment | None = None,
    path: Path = Path("nowhere/checkpoints/last.ckpt"),
    draw: Callable[[int], Backbone] | None = None,
    seed: int = 1,
    backbone: Backbone | None = None,
) -> EvaluationContext:
    """A LeNet5 for 16 px, and these images."""
    card: dict[str, Any] = {
        "arch": {"_target_": "deepcluster.models.lenet.LeNet5"},
        "in_channels": train.n_channels,
        "image_size": 16,
        "resize": 16,
        "mean": [0.3] * train.n_channels,
        "std": [0.25] * train.n_channels,
    }
    found = EvaluationContext(
        backbone=backbone or lenet(1),
        stored=Weights(path=path, format="test", tensors={}, card=card, assignment=assignment),
        data_settings=Arrays(),
        view=View(size=16),
        extraction=Extraction(batch_size=32),
        folder=folder,
        seed=seed,
        progress=Said(),
        device=torch.device("cpu"),
        untrained=None if draw is None else Untrained(draw=draw, init={"kind": "random"}),
    )
    found.train_images, found.test_images = train, test
    return found


def lenet(seed: int, n_channels: int = 1) -> Backbone:
    torch.manual_seed(seed)
    return LeNet5(n_channels, 16).eval()


def features(found: EvaluationContext, images: MemoryImages, *, backbone: Backbone | None = None) -> Tensor:
    """Features by the network itself, the view written out."""
    normalised = (images.images.float() / 255 - 0.3) / 0.25
    with torch.no_grad():
        result: Tensor = (backbone or found.backbone)(normalised)
    return result
