"""The images of the leaderboard's sets: what is learned from, and what is judged on.

Test images judge a finished recipe. With --held-out a part of the training images, which then are not learned from,
judges in their place, so that a recipe can be chosen without them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from deepcluster.data.images import DecodedImages, ImageSet, MemoryImages, evenly_spaced
from deepcluster.data.reading_settings import Reading
from deepcluster.data.settings import Arrays, Source
from deepcluster.data.sources.load import load
from deepcluster.system.seeding import generator

HELD_OUT = {"embedded": 10_000, "cifar10": 5_000, "imagenette": 400}
CIFAR10_COLOURS = ("view.mean=[0.4914,0.4822,0.4465]", "view.std=[0.247,0.243,0.261]")  # as data=cifar10 has them


def place_of(name: str, data: str | None) -> Path | None:
    """The folder of a set: --data, or the folder in it that has the set's name.

    Raises:
        ValueError: if a set that cannot be downloaded has none.
    """
    if data is None:
        if name == "imagenette":
            raise ValueError(
                "--set imagenette needs --data DIR, with train/CLASS/ and val/CLASS/ in it or its imagenette/"
            )
        return None
    own = Path(data) / name
    return own if own.is_dir() else Path(data)


def data_overrides(name: str, place: Path | None) -> tuple[str, ...]:
    """What train.py is told of a set's images.

    Args:
        place: its folder; None: Fashion-MNIST and CIFAR-10 are downloaded to data/.
    """
    if name == "embedded":
        return ()
    if name == "imagenette":
        return ("data=folder", f"data.root={place}")
    if place is None:
        return ("data=cifar10", *CIFAR10_COLOURS)
    kind = "parquet" if any(place.rglob("*.parquet")) else "cifar10"
    return (f"data={kind}", f"data.root={place}", *CIFAR10_COLOURS)


@dataclass(kw_only=True)
class SplitImages:
    """Stands in for `load` in a run: gives the images of a set's leaderboard.

    Args:
        name: of the set.
        place: folder of its files, see :func:`data_overrides`.
        held_out: judge on training images.
        n_train: learn from so many of the training images, evenly spaced; None: from all.
        n_test: judge on so many, evenly spaced; None: on all.
    """

    name: str
    place: Path | None
    held_out: bool = False
    n_train: int | None = None
    n_test: int | None = None
    _kept: dict[str, ImageSet] = field(default_factory=dict, repr=False)

    def __call__(self, settings: Source, reading: Reading, split: str) -> ImageSet:
        """The images of a split, as `load` gives them. They are kept for the next run."""
        key = repr((settings, reading, split))
        if key not in self._kept:
            images = self._test(settings, reading) if split == "test" else self._train(settings, reading)
            limit = self.n_test if split == "test" else self.n_train
            self._kept[key] = taken(images, evenly_spaced(len(images), limit))
        return self._kept[key]

    def _train(self, settings: Source, reading: Reading) -> ImageSet:
        images = _loaded(settings, reading, "train")
        if not self.held_out or self.name == "embedded":  # the package's images are none of the last 10,000
            return images
        judged = set(self._judged(len(images)))
        return taken(images, [i for i in range(len(images)) if i not in judged])

    def _test(self, settings: Source, reading: Reading) -> ImageSet:
        if self.name == "embedded":
            root = "data" if self.place is None else str(self.place)
            settings = Arrays(source="fashion_mnist", root=root)
        if not self.held_out:
            return _loaded(settings, reading, "test")
        images = _loaded(settings, reading, "train")
        return taken(images, self._judged(len(images)))

    def _judged(self, n: int) -> list[int]:
        """Which of the n training images are held out: the last, or of class folders some that a seed draws.

        Raises:
            ValueError: if too few would be left.
        """
        n_held_out = min(HELD_OUT[self.name], n if self.n_test is None else max(self.n_test, n // 5))
        if n_held_out >= n:
            raise ValueError(f"--held-out judges on {n_held_out:,} training images of {self.name}, there are {n:,}")
        if self.name == "imagenette":
            return sorted(torch.randperm(n, generator=generator(1, "held out"))[:n_held_out].tolist())
        return list(range(n - n_held_out, n))


def taken(images: ImageSet, chosen: Sequence[int]) -> ImageSet:
    """The set of these images only."""
    if len(chosen) == len(images):
        return images
    if isinstance(images, DecodedImages):
        return images.take(chosen)
    assert isinstance(images, MemoryImages)
    rows = torch.as_tensor(chosen)
    return replace(
        images,
        images=images.images[rows],
        samples=[images.samples[i] for i in chosen],
        labels=None if images.labels is None else images.labels[rows],
        contents=None,
    )


def _loaded(settings: Source, reading: Reading, split: str) -> ImageSet:
    images = load(settings, reading, split)
    if images is None or images.labels is None:
        raise ValueError(f"the leaderboard needs labelled {split} images, {settings.place} has none")
    return images
