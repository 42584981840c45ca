"""Mean and standard deviation of the pixels, which both views normalise by. Next: views.py."""

import torch
from torch import Tensor

from deepcluster.data import cache
from deepcluster.data.decode import LAW, WHITE, BrokenImage
from deepcluster.data.images import DecodedImages, ImageSet, MemoryImages, evenly_spaced, read_shrunk
from deepcluster.data.reading_settings import Reading
from deepcluster.data.settings import Source
from deepcluster.data.shrunk import Shrink, to_short_side
from deepcluster.data.view_settings import View
from deepcluster.system.threads import for_each

_MAX_IMAGES = 50_000  # 1,000 would do for two digits; 50,000 gives CIFAR-10's published values exactly
_SMALLEST_STD = 1 / 255  # of a constant channel: one grey level


def statistics(images: ImageSet, view: View, data: Source, reading: Reading) -> tuple[list[float], list[float]]:
    """Per-channel mean and standard deviation, in [0, 1], over the pixels; every image counts the same.

    Args:
        images: the training images.
        view: `mean` and `std`, if set, are given back.
        data, reading: where the images are and how they are read, under which what was measured of files is remembered.

    Raises:
        ValueError: if view.mean and view.std have another number of channels than the images.
    """
    if view.mean is not None and view.std is not None:
        if len(view.mean) != images.n_channels:
            raise ValueError(
                f"view.mean and view.std have {len(view.mean)} values, "
                f"the images {images.n_channels} channels; leave them out to measure them, "
                "or set data.n_channels"
            )
        return list(view.mean), list(view.std)
    chosen = evenly_spaced(len(images), _MAX_IMAGES)
    resize = view.resize or view.size
    if isinstance(images, MemoryImages):
        moments = _memory_moments(images.images, chosen)
    elif isinstance(images, DecodedImages):
        facts: list[object] = [LAW, images.fingerprint, images.n_channels, len(images)]
        if images.max_value != WHITE:
            facts.append(images.max_value)
        key = cache.fingerprint(*facts, *([resize] if images.scaled else []))
        entry = cache.read(data, reading, "statistics", key)
        moments = _read_moments(images, chosen, to_short_side(resize)) if entry is None else entry["moments"]
        if entry is None:
            cache.write(data, reading, "statistics", key, {"moments": moments})
    else:
        moments = _read_moments(images, chosen, to_short_side(resize))
    mean, square = moments.mean(0)
    std = (square - mean**2).clamp(min=0).sqrt().clamp(min=_SMALLEST_STD)
    return mean.tolist(), std.tolist()


def _memory_moments(images: Tensor, chosen: list[int]) -> Tensor:
    parts = torch.split(torch.as_tensor(chosen), 512)
    return torch.cat([_moments(images[part]) for part in parts])


def _read_moments(images: ImageSet, chosen: list[int], shrink: Shrink) -> Tensor:
    moments = torch.empty(len(chosen), 2, images.n_channels, dtype=torch.float64)
    good = torch.ones(len(chosen), dtype=torch.bool)

    def work(i: int) -> None:
        try:
            moments[i] = _moments(read_shrunk(images, chosen[i], shrink).pixels[None])[0]
        except BrokenImage:  # of a set of which only a sample was decoded; the loader tells of it
            if getattr(images, "on_broken", "error") == "error":
                raise
            good[i] = False

    for_each(
        len(chosen),
        work,
        "measuring mean and standard deviation",
        timeout_s=getattr(images, "timeout_s", None),
        name=lambda i: repr(images.samples[chosen[i]]),
    )
    if not bool(good.any()):
        raise ValueError(f"none of {len(chosen):,} images can be decoded, so mean and deviation cannot be measured")
    return moments[good]


def _moments(images: Tensor) -> Tensor:
    """(B, 2, C) float64: every image's mean and mean square in [0, 1]."""
    pixels = images.flatten(2).float()  # sums of integers: five times as fast as in int64, and right to 1e-7
    sums = torch.stack([pixels.sum(2), (pixels * pixels).sum(2)], 1).double()
    return sums / pixels.shape[2] / torch.tensor([255.0, 255.0**2], dtype=torch.float64).view(2, 1)
