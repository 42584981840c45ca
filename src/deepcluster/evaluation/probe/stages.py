"""Which stages a probe reads, and how their maps are pooled to about 9,600 numbers. Next: stage_features.py."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from deepcluster.models.alexnet import AlexNet
from deepcluster.models.backbone import FEATURES, Backbone

ALL = "all"
# original: eval_linear.py, RegLog: height of AlexNet's maps at 224 px, then kernel, stride, padding of the average.
# The result: 96x10x10 = 9600, 256x6x6 = 9216, 384x5x5 = 9600 (conv3, conv4), 256x6x6 = 9216 numbers.
ORIGINAL = {
    "conv1": (55, 6, 6, 3),
    "conv2": (27, 4, 4, 0),
    "conv3": (13, 3, 3, 1),
    "conv4": (13, 3, 3, 1),
    "conv5": (13, 2, 2, 0),
}


@dataclass(kw_only=True, frozen=True)
class Pooling:
    """How maps (B, c, h, w) are averaged: by windows or to a grid; with neither they stay unchanged.

    Args:
        window: kernel, stride and padding; padded zeros count in the averages (original: AvgPool2d).
        grid: height and width of the result of adaptive average pooling.
    """

    window: tuple[int, int, int] | None = None
    grid: tuple[int, int] | None = None

    def __call__(self, maps: Tensor) -> Tensor:
        """Pooled maps (B, c, h', w'); features (B, D) stay unchanged."""
        if self.window is not None:
            kernel, stride, padding = self.window
            return F.avg_pool2d(maps, kernel, stride, padding, count_include_pad=True)
        return maps if self.grid is None else F.adaptive_avg_pool2d(maps, self.grid)

    def __str__(self) -> str:
        if self.window is not None:
            return "average of {0}x{0}, stride {1}, padding {2}".format(*self.window)
        return "none" if self.grid is None else "average to {}x{}".format(*self.grid)

    def state(self) -> dict[str, Any]:
        """The pooling as plain values, for a file."""
        return {name: value and list(value) for name, value in (("window", self.window), ("grid", self.grid))}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Pooling":
        """Make the pooling from the values of :meth:`state`."""
        return cls(**{name: state[name] and tuple(state[name]) for name in ("window", "grid")})


@dataclass(kw_only=True, frozen=True)
class Stage:
    """A stage that a probe reads: its name, its pooling, and the pooled shape, (c, h, w) or (D,)."""

    name: str
    pooling: Pooling
    shape: tuple[int, ...]

    @property
    def n_features(self) -> int:
        """How many numbers M a probe reads per image."""
        return math.prod(self.shape)


def chosen_stages(backbone: Backbone, chosen: str | Sequence[str] | None, *, max_features: int) -> list[Stage]:
    """The stages that a probe reads.

    Args:
        chosen: a list of names, one name, "all" for all stages, or None for the last one (the features if there are no
            stages). "features" names the D features themselves.
        max_features: maps with more numbers are averaged to a square grid with at most this many; those of AlexNet
            at 224 pixels are averaged as in the original.

    Raises:
        ValueError: if the network has no such stage; names those that it has.
    """
    names = [chosen] if isinstance(chosen, str) else list(chosen or [])
    if names == [ALL]:
        names = list(backbone.stages) or [FEATURES]
    if not names:
        names = backbone.stages[-1:] or [FEATURES]
    unknown = [name for name in names if name not in (*backbone.stages, FEATURES)]
    if unknown:
        known = ", ".join([*backbone.stages, FEATURES])
        raise ValueError(f"evaluation.stages: this network has no stage {', '.join(unknown)}; it has {known}, or all")
    size = backbone.image_size
    with torch.inference_mode():
        empty = torch.zeros(
            1, backbone.in_channels, size, size, device=next(iter(backbone.state_dict().values())).device
        )
        maps = backbone.taps(empty, dict.fromkeys(names, Pooling()))
        stages = []
        for name, stage_maps in maps.items():
            pooling = _pooling(backbone, name, tuple(stage_maps.shape[1:]), max_features)
            stages.append(Stage(name=name, pooling=pooling, shape=tuple(pooling(stage_maps).shape[1:])))
    return stages


def _pooling(backbone: Backbone, name: str, shape: tuple[int, ...], max_features: int) -> Pooling:
    if len(shape) == 3 and isinstance(backbone, AlexNet) and shape[1] == shape[2] == ORIGINAL[name][0]:
        return Pooling(window=ORIGINAL[name][1:])
    if len(shape) < 3 or math.prod(shape) <= max_features:
        return Pooling()
    channels, height, width = shape
    side = max(1, math.isqrt(max_features // channels))
    return Pooling(grid=(min(side, height), min(side, width)))
