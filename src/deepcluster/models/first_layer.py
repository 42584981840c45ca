"""Find the first convolution of a network and its input, to set its filters or to plot them."""

from typing import Any

import torch
from torch import Tensor, nn

from deepcluster.models.backbone import Backbone


class _Reached(Exception):
    """Ends a forward pass at the first convolution."""


@torch.no_grad()
def first_layer(backbone: Backbone, images: Tensor) -> tuple[str, nn.Conv2d, Tensor]:
    """The convolution that runs first: its name, itself, and its input (B, c, h, w) for images (B, C, H, W).

    The images are sent through the network, so the order in which layers are defined does not matter. Sobel does not
    count. The network's mode and statistics stay as they are.

    Raises:
        ValueError: if there is no convolution.
    """
    reached_first: list[tuple[str, nn.Conv2d, Tensor]] = []
    hooks = []
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Conv2d):

            def reached(conv: nn.Module, inputs: tuple[Any, ...], name: str = name) -> None:
                assert isinstance(conv, nn.Conv2d)
                reached_first.append((name, conv, inputs[0]))
                raise _Reached

            hooks.append(module.register_forward_pre_hook(reached))
    modes = {module: module.training for module in backbone.modules()}
    backbone.eval()
    try:
        backbone(images)
    except _Reached:
        pass
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
    if not reached_first:
        raise ValueError(
            "this network has no convolution, so there are no filters to set (init=kmeans_patches, scatter) or to plot"
        )
    return reached_first[0]
