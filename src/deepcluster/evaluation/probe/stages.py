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
# original: eval_linear.py, RegLog: height of AlexNet's maps at 224 px -> kernel, stride, padding of the average.
# 96x10x10 = 9600, 256x6x6 = 9216, 384x5x5 = 9600 (conv3, conv4), 256x6x6 = 9216 numbers.
ORIGINAL = {
    "conv1": (55, 6, 6, 3),
    "conv2": (27, 4, 4, 0),
    "conv3": (13, 3, 3, 1),
    "conv4": (13, 3, 3, 1),
    "conv5": (13, 2, 2, 0),
}


@dataclass(kw_only=True, frozen=True)
class Pooling:
    """How maps (B, c, h, w) are averaged: by windows or to a grid; without either they stay as they are.

    Args:
        window: kernel, stride and padding; the zeros of the padding count in the averages (original: AvgPool2d).
        grid: height and width of the result, by adaptive averages.
    """

    window: tuple[int, int, int] | None = None
    grid: tuple[int, int] | None = None

    def __call__(self, maps: Tensor) -> Tensor:
        """Pooled maps (B, c, h', w'); features (B, D) stay as they are."""
        if self.window is not None:
            kernel, stride, padding = self.window
            return F.avg_pool2d(maps, kernel, stride, padding, count_include_pad=True)
        return maps if self.grid is None else F.adaptive_avg_pool2d(maps, self.grid)

    def __str__(self) -> str:
        if self.window is not None:
            return "average of {0}x{0}, stride {1}, padding {2}".format(*self.window)
        return "none" if self.grid is None else "average to {}x{}".format(*self.grid)

    def state(self) -> dict[str, Any]:
        """Plain values, for a file."""
        return {name: value and list(value) for name, value in (("window", self.window), ("grid", self.grid))}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Pooling":
        """The pooling of :meth:`state`."""
        return cls(**{name: state[name] and tuple(state[name]) for name in ("window", "grid")})


@dataclass(kw_only=True, frozen=True)
class Stage:
    """A place where a probe reads: its name, its pooling, and the pooled shape, (c, h, w) or (D,)."""

    name: str
    pooling: Pooling
    shape: tuple[int, ...]

    @property
    def n_features(self) -> int:
        """Numbers M that a probe reads per image."""
        return math.prod(self.shape)


def chosen_stages(backbone: Backbone, chosen: str | Sequence[str] | None, *, max_features: int) -> list[Stage]:
    """The stages that a probe reads.

    Args:
        chosen: names, one name, "all" for all stages, None for the last one (the features, if there are no stages).
            "features" names the D features themselves.
        max_features: maps of more numbers are averaged to a square grid that has no more, except those of the
            original's AlexNet at 224 px, which are averaged as there.

    Raises:
        ValueError: if there is no such stage; names those that there are.
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
        for name, one in maps.items():
            pooling = _pooling(backbone, name, tuple(one.shape[1:]), max_features)
            stages.append(Stage(name=name, pooling=pooling, shape=tuple(pooling(one).shape[1:])))
    return stages


def _pooling(backbone: Backbone, name: str, shape: tuple[int, ...], max_features: int) -> Pooling:
    if len(shape) == 3 and isinstance(backbone, AlexNet) and shape[1] == shape[2] == ORIGINAL[name][0]:
        return Pooling(window=ORIGINAL[name][1:])
    if len(shape) < 3 or math.prod(shape) <= max_features:
        return Pooling()
    channels, height, width = shape
    side = max(1, math.isqrt(max_features // channels))
    return Pooling(grid=(min(side, height), min(side, width)))
