"""A backbone cut at a stage, for whole pictures: what makes the maps, and what follows them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from deepcluster.models.backbone import Backbone


def check_network(backbone: Backbone) -> None:
    """Refuse networks without maps to read, or without weights to train.

    Raises:
        ValueError: saying which networks can be used.
    """
    children = dict(backbone.features.named_children())
    if not backbone.stages or any(stage not in children for stage in backbone.stages):
        raise ValueError(
            "this network's stages are not modules that follow one another, so whole pictures cannot be sent through "
            "them; take AlexNet, VGG or ResNet"
        )
    if not any(weight.requires_grad for weight in backbone.parameters()):
        raise ValueError(
            "this network has no trainable weights, so it cannot be fine-tuned; take AlexNet, VGG or ResNet"
        )


@torch.no_grad()
def map_shapes(backbone: Backbone) -> dict[str, tuple[int, int, int]]:
    """Stage -> shape (c, h, w) of its maps for an image of the network's own size; last, "", the maps of the neck."""
    weight = next(backbone.parameters())
    size = backbone.image_size
    maps = backbone.input_maps(torch.zeros(1, backbone.in_channels, size, size, device=weight.device))
    shapes: dict[str, tuple[int, int, int]] = {}
    for name, child in backbone.features.named_children():
        maps = child(maps)
        if name in backbone.stages:
            shapes[name] = (maps.shape[1], maps.shape[2], maps.shape[3])
    shapes[""] = (maps.shape[1], maps.shape[2], maps.shape[3])
    return shapes


def larger_stages(backbone: Backbone) -> list[str]:
    """Of each size of maps that is larger than the last one, the last stage; the smallest maps first."""
    shapes = map_shapes(backbone)
    last = shapes.pop("")[1]
    by_height = {height: stage for stage, (_, height, _) in shapes.items() if height > last}
    return [by_height[height] for height in sorted(by_height)]


class Maps(nn.Module):
    """The part of a backbone that makes the maps (B, c, h, w) of a stage, float32, from normalised images.

    Args:
        backbone: its modules are used, not copied.
        stage: the last stage of the part; None: all of `features`.
        dtype: type in which it computes.
    """

    def __init__(self, backbone: Backbone, stage: str | None, dtype: torch.dtype) -> None:
        super().__init__()
        self.sobel, self.features, self.dtype = backbone.sobel, _split(backbone, stage)[0], dtype

    def forward(self, images: Tensor) -> Tensor:
        maps = images if self.sobel is None else self.sobel(images)
        with computing_in(self.dtype, maps):
            return self.features(maps).float()  # type: ignore[no-any-return]

    @torch.no_grad()
    def stride(self, in_channels: int) -> float:
        """Pixels of the image between two places of the maps."""
        device = next(self.parameters()).device
        small, large = (self(torch.zeros(1, in_channels, side, side, device=device)).shape[2] for side in (256, 512))
        return 256.0 / int(large - small)

    @torch.no_grad()
    def check_side(self, in_channels: int, side: int, way_out: str) -> None:
        """Refuse pictures whose short side is too small for the network.

        Raises:
            ValueError: with the way out.
        """
        device = next(self.parameters()).device
        try:
            self(torch.zeros(1, in_channels, side, side, device=device))
        except RuntimeError as error:
            raise ValueError(
                f"pictures with a short side of {side} px are too small for this network; {way_out}"
            ) from error


class Rest(nn.Module):
    """What follows a stage: further stages and the neck; (R, c, S, S), as from images of its own size, -> (R, D).

    If the neck has linear layers, the backbone's features come before the last ReLU, so it is applied here.
    """

    def __init__(self, backbone: Backbone, stage: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.features, self.neck, self.dtype = _split(backbone, stage)[1], backbone.neck, dtype
        self.relu = nn.ReLU() if linear_layers(backbone.neck) else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        with computing_in(self.dtype, maps):
            return self.relu(self.neck(self.features(maps))).float()  # type: ignore[no-any-return]


def linear_layers(module: nn.Module) -> list[nn.Linear]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Linear)]


def computing_in(dtype: torch.dtype, like: Tensor) -> torch.autocast:
    """Convolutions and products in `dtype`."""
    return torch.autocast(like.device.type, dtype if dtype != torch.float32 else None, enabled=dtype != torch.float32)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw new layers' weights from `seed`, and leave the global random state alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _split(backbone: Backbone, stage: str | None) -> tuple[nn.Sequential, nn.Sequential]:
    """`features` up to the end of a stage, and what follows."""
    names = [name for name, _ in backbone.features.named_children()]
    end = len(names) if stage is None else 1 + names.index(stage)
    return backbone.features[:end], backbone.features[end:]
