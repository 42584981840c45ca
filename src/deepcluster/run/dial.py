"""What a folder of images and so many minutes make of a run: network, image size, K, epochs.

Pure choices stand here, each with its reason; what they need to know is looked up by `look` and measured by costs.py.
What is fixed for photographs is the recipe's: configs/experiment/photographs.yaml.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from statistics import mean, median

from deepcluster.data.decode import BrokenImage, pixels_of_file
from deepcluster.data.images import FileImages, ImageSet, evenly_spaced
from deepcluster.data.reading_settings import Reading
from deepcluster.data.settings import Source
from deepcluster.data.sources.load import load
from deepcluster.run.costs import LIMIT_S, Costs
from deepcluster.run.estimate import estimate_seconds
from deepcluster.run.sizes import Plan, sizes
from deepcluster.settings.train import TrainConfig
from deepcluster.system.threads import n_cores

MINUTES = {"quick": 3.0, "normal": 10.0, "long": 60.0}  # effort -> minutes
N_LOOKED_AT = 24  # images that are read
N_SIZES = 2000  # files whose headers are read: a tenth of a millisecond each, on a slow disk a hundred times that
N_SAMPLE = 256  # images with which a network is timed
SHARE = 0.97  # of what is left of the minutes; the rest is for starting the run and storing its checkpoints
TIMED = 1 / 240  # of the minutes: the batches of a phase that are timed; all of a network takes about ten times that
TRAINED = 1.1  # seconds of an epoch, in those of its timed steps: logging, health checks
FEWEST_EPOCHS = 10  # a larger network must be able to see each image so often
MOST_EPOCHS = 200
LARGER = 1.2  # images are kept as squares of at least so many times the side of those of features,
ROOM = 1.5  # and so many times that of crops to learn from
SIZES = (160, 120, 80, 60, 40)  # pixels, of the images of features
ENLARGED = 1.56  # at most, for features; the crops to learn from have half their side


@dataclass(kw_only=True, frozen=True)
class Budget:
    """What a command may take.

    Args:
        minutes: for all of it.
        started: time.perf_counter() when it began.
    """

    minutes: float
    started: float

    @property
    def spent_s(self) -> float:
        """Seconds since it began: starting Python, looking, timing."""
        return time.perf_counter() - self.started

    @property
    def left(self) -> float:
        """Minutes."""
        return self.minutes - self.spent_s / 60

    @property
    def limit_s(self) -> float:
        """Seconds for timing the batches of a phase: of a few minutes, timing must not take many."""
        return min(LIMIT_S, TIMED * 60 * self.minutes)


@dataclass(kw_only=True)
class Look:
    """What a look at some of a folder's images tells.

    Args:
        n: training images.
        n_test: test images.
        height, width: medians, in pixels.
        read_s: seconds in which one core reads and decodes an image, on average.
        of_one_size: whether all whose size is known are; without stored squares others are decoded at each access.
    """

    n: int
    n_test: int
    height: int
    width: int
    read_s: float
    of_one_size: bool

    @property
    def side(self) -> int:
        """The short side."""
        return min(self.height, self.width)


@dataclass(kw_only=True, frozen=True)
class Network:
    """A network and the size of the images that it sees; feature_dim: D, None if not known yet."""

    arch: str
    size: int
    feature_dim: int | None = None

    def __str__(self) -> str:
        return f"{self.arch} at {self.size} px"


def look(data: Source, reading: Reading) -> Look:
    """Count the images, read some, and of files look at the sizes of many.

    A few huge images take most of the time and are seldom among those that are read, so the time is that of a pixel.

    Raises:
        FileNotFoundError, ValueError: from the source.
    """
    unread = replace(reading, check="none", in_memory="never")
    images, test = load(data, unread, "train"), load(data, unread, "test")
    assert images is not None
    shapes: list[tuple[int, ...]] = []
    started = time.perf_counter()
    for i in evenly_spaced(len(images), N_LOOKED_AT):
        try:
            shapes.append(tuple(images.read(i).shape[1:]))
        except BrokenImage:  # the run itself tells of it
            continue
    read_s = (time.perf_counter() - started) / max(1, len(shapes))
    pixels = file_pixels(images)
    if pixels and shapes:
        read_s *= mean(pixels) / mean(map(prod, shapes))
    height, width = (int(median(sides)) for sides in zip(*shapes, strict=True)) if shapes else (0, 0)
    return Look(
        n=len(images),
        n_test=0 if test is None else len(test),
        height=height,
        width=width,
        read_s=read_s,
        of_one_size=len(set(shapes)) <= 1 and len(set(pixels)) <= 1,
    )


def file_pixels(images: ImageSet) -> list[int]:
    """The numbers of pixels of many files, those left out that cannot be decoded; empty of images that are no files."""
    if not isinstance(images, FileImages):
        return []
    found = []
    for i in evenly_spaced(len(images), N_SIZES):
        try:
            found.append(pixels_of_file(images.path(i)))
        except (OSError, ValueError):
            continue
    return found


def networks(side: int, *, on_gpu: bool) -> list[Network]:
    """The networks that fit images of this short side, the one that can learn most first."""
    large = [Network(arch="resnet18", size=160)] if on_gpu else []
    large += [Network(arch="vgg_photographs", size=size) for size in (160, 120)]
    small = [Network(arch="vgg_small", size=size) for size in (80, 60, 40)]
    fitting = [network for network in large if network.size <= ENLARGED * side]
    return fitting + [network for network in small if network.size <= ENLARGED * side][:1] or small[-1:]


def sizes_of_typed(side: int, own: int) -> list[int]:
    """Sizes for a network that was typed, of which it is to see images of this short side in the first that it takes.

    Args:
        own: the size that the recipe gives it.

    Returns:
        The largest size that enlarges them little, or the smallest, then larger ones; empty if its own is small enough.
    """
    if own <= ENLARGED * side:
        return []
    smaller = [size for size in SIZES if size < own]
    best = next((size for size in smaller if size <= ENLARGED * side), min(smaller, default=own))
    return sorted(size for size in smaller if size >= best)


def with_numbers(config: TrainConfig, words: Sequence[str]) -> TrainConfig:
    """The settings with words GROUP.KEY=NUMBER, without composing them again."""
    for word in words:
        key, _, value = word.partition("=")
        group, _, name = key.partition(".")
        config = replace(config, **{group: replace(getattr(config, group), **{name: int(value)})})
    return config


def for_few(config: TrainConfig, n: int, feature_dim: int | None = None) -> list[str]:
    """Settings that bring down what needs more: than n images, dimensions of PCA and neighbours of the graph; than the
    network's features, if known, dimensions of PCA."""
    least = {
        "reduction.dim": (config.reduction.dim, n // 2 if feature_dim is None else min(n // 2, feature_dim)),
        "other_rows.dim": (getattr(config.other_rows, "dim", None), n // 2),
        "other_rows.n_neighbours": (getattr(config.other_rows, "n_neighbours", None), n // 4),
    }
    return [f"{key}={max(1, most)}" for key, (value, most) in least.items() if value is not None and value > most]


def for_epochs(config: TrainConfig, epochs: int) -> list[str]:
    """Settings that follow the number of epochs: heads beside fade over the same share of them as in the recipe."""
    fade, planned = getattr(config.other_rows, "fade_epochs", None), config.trainer["max_epochs"]
    if fade is None or not planned or not epochs:
        return []
    return [f"other_rows.fade_epochs={max(1, round(fade * epochs / planned))}"]


def stored_side(seen: Look, size: int, crop_size: int, room: float) -> int | None:
    """The side of the squares in which images are decoded once; None where they are small and of one size, as those are
    kept as they are, or too many.

    Args:
        size: of the images of features.
        crop_size: of the crops to learn from.
        room: bytes of memory.
    """
    side = round(max(LARGER * size, ROOM * crop_size))
    gains = seen.side > side or not seen.of_one_size
    return side if gains and 3 * side * side * (seen.n + seen.n_test) <= room else None


def stays_in_memory(seen: Look, reading: Reading) -> bool:
    """Whether the run decodes the images once though no squares are made of them: they have one size, and fit."""
    return seen.of_one_size and 3 * seen.height * seen.width * seen.n <= reading.memory_gb * 1e9


def whole(plan: Plan, seen: Look, max_epochs: int) -> Plan:
    """The plan of a run on all images, from one on a sample of them."""
    return replace(plan, n_images=seen.n, n_test=seen.n_test, max_epochs=max_epochs)


def seconds(plan: Plan, costs: Costs, seen: Look, max_epochs: int) -> float:
    """Seconds of the whole run: reading once, then all that an estimate counts."""
    once = seen.read_s * (seen.n + seen.n_test) / n_cores()
    estimate = estimate_seconds(sizes(whole(plan, seen, max_epochs)), costs)
    return once + estimate.total + (TRAINED - 1) * max_epochs * estimate.epoch


def fits(plan: Plan, costs: Costs, seen: Look, epochs: int, minutes: float) -> bool:
    """Whether a run of so many epochs fits into the minutes."""
    return seconds(plan, costs, seen, epochs) <= SHARE * 60 * minutes


def most_epochs(plan: Plan, costs: Costs, seen: Look, minutes: float) -> int:
    """How many epochs fit into the minutes, at most `MOST_EPOCHS`; 0 if not one does."""
    fewest, most = 0, MOST_EPOCHS  # seconds grow with the epochs
    while fewest < most:
        middle = (fewest + most + 1) // 2
        fewest, most = (middle, most) if fits(plan, costs, seen, middle, minutes) else (fewest, middle - 1)
    return fewest
