"""Measure how strongly each channel of a stage answers to an image, with a gradient also where its ReLU gives 0.

stage_ascent.py follows this gradient. Also here: which stages and channels a picture shows (`choose_stages`).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from deepcluster.models.backbone import LARGEST_LEAST_SIZE, Backbone
from deepcluster.models.timm_model import TimmBackbone


class Response(NamedTuple):
    """Spatial means (B, c) of a stage's maps: after its ReLU, and before it (None if no layer gives that)."""

    after: Tensor
    before: Tensor | None


def stage_module(backbone: Backbone, stage: str) -> nn.Module | None:
    """The module whose output is the stage's maps; None if no module has the stage's name (some timm models)."""
    root = backbone.features.get_submodule("model") if isinstance(backbone, TimmBackbone) else backbone.features
    try:
        return root.get_submodule(stage)
    except AttributeError:
        return None


def responses(backbone: Backbone, stage: str, images: Tensor, *, normalised: bool = True) -> Response:
    """The mean answer of each channel of a stage to images (B, C, H, W), differentiable.

    `before` is the output of the stage's last convolution after its BatchNorm; in a ResNet, of the last block, before
    the shortcut is added. The hook computes the mean at once, because an in-place ReLU changes the output afterwards.

    Args:
        normalised: False takes `before` in front of BatchNorm, as the 2018 code does. Raising `before` then lowers the
            answer if BatchNorm's weight is negative.
    """
    means: list[Tensor] = []

    def append_mean(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        means.append(output.mean(dim=(2, 3)))

    module = stage_module(backbone, stage)
    # Exact types, because timm has BatchNorms that contain the activation.
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.SyncBatchNorm) if normalised else (nn.Conv2d,)
    layers = [] if module is None else [layer for layer in module.modules() if type(layer) in kinds]
    hooks = [layer.register_forward_hook(append_mean) for layer in layers]
    try:
        after = backbone.stage(images, stage).mean(dim=(2, 3))
    finally:
        for hook in hooks:
            hook.remove()
    before = [mean for mean in means if mean.shape[1] == after.shape[1]]
    return Response(after, before[-1] if before else None)


def climbable(response: Response, channels: Tensor) -> Tensor:
    """Answers (B, c) with a gradient: `before` where the image's channel, in `channels` (B,), is silent; else `after`.

    At 0 ReLU has no gradient; the 2018 code takes the convolution's output in the same case (gradient_ascent.py).
    """
    if response.before is None:
        return response.after
    silent = response.after.gather(1, channels[:, None]) == 0
    return torch.where(silent, response.before, response.after)


@torch.no_grad()
def stage_shape(backbone: Backbone, stage: str, size: int) -> tuple[int, int, int]:
    """The shape (c, h, w) of a stage's maps for images of `size`.

    Raises:
        ValueError: if the stage does not exist, or the network refuses the size; names the next size that it takes.
    """
    backbone.check_stage(stage)

    def shape(side: int) -> tuple[int, int, int]:
        device = next(iter(backbone.state_dict().values())).device
        maps = backbone.stage(torch.zeros(1, backbone.in_channels, side, side, device=device), stage)
        return int(maps.shape[1]), int(maps.shape[2]), int(maps.shape[3])

    refusals = (RuntimeError, AssertionError)  # by torch, and by timm models for one size
    try:
        return shape(size)
    except refusals as error:
        for side in range(size + 1, LARGEST_LEAST_SIZE + 1):
            try:
                shape(side)
            except refusals:
                continue
            raise ValueError(
                f"evaluation.size={size} is too small for stage {stage} of this network; set it to {side} or more"
            ) from error
        raise ValueError(
            f"this network cannot take evaluation.size={size} ({str(error).splitlines()[0]}); leave it out, for the "
            f"{backbone.image_size} pixels that the network was made for"
        ) from error


@dataclass(frozen=True)
class ChosenStage:
    """A stage, which of its channels are shown, and the shape (c, h, w) of its maps."""

    name: str
    channels: list[int]
    shape: tuple[int, int, int]

    @property
    def key(self) -> str:
        """The stage's name in file names and results."""
        return self.name.replace(".", "_")


def choose_stages(
    backbone: Backbone, stage: str | None, *, channels: list[int] | None, first: int | None, size: int
) -> list[ChosenStage]:
    """The stages and channels that `evaluation.stage`, `.channels` and `.first` choose.

    Args:
        stage: a name, "all", or None for the last stage.
        channels: None: all of the stage.
        first: how many of them, from the first on; None: all.
        size: of the images.

    Raises:
        ValueError: if the stage or a channel does not exist, or the network refuses the size.
    """
    chosen = []
    for name in _stage_names(backbone, stage):
        shape = stage_shape(backbone, name, size)
        chosen.append(ChosenStage(name, choose_channels(channels, shape[0], name, first), shape))
    return chosen


def _stage_names(backbone: Backbone, stage: str | None) -> list[str]:
    known = ", ".join(backbone.stages)
    if not known:
        raise ValueError("this network has no stages with maps, so evaluation.stage has nothing to choose from")
    if stage == "all":
        return backbone.stages
    if stage is not None and stage not in backbone.stages:
        raise ValueError(f"evaluation.stage={stage}: this network has no such stage; it has {known}, or all")
    return [backbone.stages[-1] if stage is None else stage]


def choose_channels(channels: list[int] | None, n_channels: int, stage: str, first: int | None = None) -> list[int]:
    """The channels that `evaluation.channels` names (None: all); only the first `first` of them, unless it is None.

    Raises:
        ValueError: if a channel does not exist.
    """
    if channels is None:
        return list(range(n_channels))[:first]
    wrong = [channel for channel in channels if not 0 <= channel < n_channels]
    if wrong:
        raise ValueError(
            f"evaluation.channels={list(channels)}: stage {stage} has the {n_channels} channels "
            f"0 to {n_channels - 1}, and no {wrong[0]}"
        )
    return list(dict.fromkeys(channels))[:first]
