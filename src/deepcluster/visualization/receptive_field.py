"""Find the pixels on which a place of a stage's maps depends. top_images_pages.py cuts them out."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from deepcluster.models.backbone import Backbone
from deepcluster.models.coates import PatchCode
from deepcluster.models.sobel import FILTERS, Sobel
from deepcluster.visualization.response import stage_module

WINDOWED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, Sobel, PatchCode)
LEAST_SHARE = 1e-6  # of the largest gradient: smaller ones are rounding errors of some convolutions


class Span(NamedTuple):
    """Along one axis: place p of a map sees `size` pixels from start + p stride on; some may lie outside the image."""

    size: int = 1
    stride: int = 1
    start: int = 0

    def through(self, kernel: int, stride: int, padding: int, dilation: int) -> "Span":
        """The span after one more layer with this window."""
        return Span(
            size=self.size + (kernel - 1) * dilation * self.stride,
            stride=self.stride * stride,
            start=self.start - padding * self.stride,
        )

    def at(self, place: int) -> tuple[int, int]:
        """The first pixel of a place, and the one after its last."""
        first = self.start + place * self.stride
        return first, first + self.size


class Field(NamedTuple):
    """The receptive field of a stage's places, along rows and columns."""

    rows: Span
    columns: Span


class _Done(Exception):
    """Ends a forward pass at the end of the stage."""


@torch.no_grad()
def receptive_field(backbone: Backbone, stage: str, size: int) -> Field | None:
    """The field, computed from kernels, strides, paddings and dilations of the layers in the order in which they run.

    Layers beside the main path, such as a ResNet's shortcuts, see no more than the path does. They are skipped: their
    input has another size than the output of the layer that ran before.

    Args:
        size: of the images.

    Returns:
        The field; None if the stage sees more than its windows, as with attention or squeeze-and-excitation. The
        gradient of the central place shows whether it does.
    """
    backbone.check_stage(stage)
    end = stage_module(backbone, stage)
    if end is None:
        return None
    rows, columns, current = Span(), Span(), (size, size)

    def passed(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        nonlocal rows, columns, current
        windows = _windows(layer)
        if tuple(inputs[0].shape[2:]) != current:
            return
        rows, columns = (span.through(*window) for span, window in zip((rows, columns), windows, strict=True))
        current = (output.shape[2], output.shape[3])

    def done(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        raise _Done

    hooks = [m.register_forward_hook(passed) for m in backbone.modules() if isinstance(m, WINDOWED)]
    hooks.append(end.register_forward_hook(done))
    try:
        backbone.stage(torch.zeros(1, backbone.in_channels, size, size), stage)
    except _Done:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    field = Field(rows, columns)
    return field if _holds(field, backbone, stage, size) else None


def _windows(layer: nn.Module) -> list[tuple[int, int, int, int]]:
    """(kernel, stride, padding, dilation) along rows, and the same along columns."""
    if isinstance(layer, Sobel):
        return [(len(FILTERS[0]), 1, 1, 1)] * 2
    if isinstance(layer, PatchCode):
        return [(layer.patch_size, 1, 0, 1)] * 2
    kernel, stride, dilation = (_pair(getattr(layer, name, 1)) for name in ("kernel_size", "stride", "dilation"))
    padding: Any = layer.padding
    if isinstance(padding, str):  # nn.Conv2d's names: as many outputs as pixels, or no padding
        padding = tuple((k - 1) * d // 2 if padding == "same" else 0 for k, d in zip(kernel, dilation, strict=True))
    return list(zip(kernel, stride, _pair(padding), dilation, strict=True))


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


@torch.enable_grad()
def _holds(field: Field, backbone: Backbone, stage: str, size: int) -> bool:
    """Whether the gradient of the maps' central place is 0 outside the field."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(1, backbone.in_channels, size, size, generator=generator).requires_grad_(True)
    maps = backbone.stage(images, stage)
    row, column = maps.shape[2] // 2, maps.shape[3] // 2
    central = maps[0, :, row, column].sum()
    if not central.requires_grad:
        return True
    (gradient,) = torch.autograd.grad(central, images)
    influence = gradient.abs().amax(dim=(0, 1))
    (top, bottom), (left, right) = field.rows.at(row), field.columns.at(column)
    outside = influence.clone()
    outside[max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = 0
    return bool(outside.max() <= LEAST_SHARE * influence.max())
