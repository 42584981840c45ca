"""The context of an evaluation of a second: the 96 grey images of tiny.py, LeNet5 with BatchNorm."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from support import tiny
from support.images_of import Settings, images_of

from deepcluster.data.images import MemoryImages
from deepcluster.data.view_settings import View
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.features.settings import Extraction
from deepcluster.models.backbone import Backbone
from deepcluster.models.lenet import LeNet5
from deepcluster.weights.recognise import Weights


@dataclass
class Told:
    """A teller that remembers its lines and bars."""

    lines: list[str] = field(default_factory=list)
    bars: list[str] = field(default_factory=list)

    @contextmanager
    def bar(self, title: str, total: int, unit: str) -> Iterator[Callable[[int], object]]:
        self.bars.append(title)
        yield lambda n: None

    def say(self, line: str) -> None:
        self.lines.append(line)


def lenet() -> Backbone:
    """As the tiny run's, with statistics that BatchNorm could have learned."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        backbone = LeNet5(1, 16, batch_norm=True)
        for module in backbone.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
    return backbone.eval()


def context(folder: Path, *, data: Settings | None = None, in_memory: bool = True, seed: int = 3) -> EvaluationContext:
    """The context; the training images' first 64 of tiny.py, the test images the other 32."""
    folder.mkdir(parents=True, exist_ok=True)
    card = {**tiny.CARD}
    settings = data or images_of(num_workers=0)
    made = EvaluationContext(
        backbone=lenet(),
        stored=Weights(path=folder / "x.ckpt", format="test", tensors={}, card=card),
        data_settings=settings.data,
        reading=settings.reading,
        view=View(size=16, resize=16, mean=tiny.MEAN, std=tiny.STD),
        extraction=Extraction(batch_size=24),
        folder=folder,
        seed=seed,
        progress=Told(),
        device=torch.device("cpu"),
    )
    if in_memory:
        made.train_images, made.test_images = part(slice(0, 64)), part(slice(64, 96))
    return made


def part(which: slice) -> MemoryImages:
    whole = tiny.images()
    assert whole.labels is not None
    return MemoryImages(
        images=whole.images[which],
        samples=whole.samples[which],
        labels=whole.labels[which],
        classes=["a", "b", "c", "d"],
    )
