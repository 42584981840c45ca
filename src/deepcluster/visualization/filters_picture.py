"""Draw the filters of a convolution as one picture. first_filters.py calls it for a network's first one."""

import math
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from deepcluster.models.backbone import Backbone
from deepcluster.models.coates import Coates
from deepcluster.models.first_layer import first_layer

BORDER = 255  # white lines between the filters


def filter_grid(filters: Tensor, *, n_columns: int | None = None, zoom: int = 8) -> Tensor:
    """A grid of filters (K, C, h, w) as one picture, uint8 (H, W, 3).

    Each filter is scaled by its own largest absolute value; 0 is mid-grey in all. Three channels are shown in colours,
    one in grey; other numbers, such as the two of Sobel, as grey pictures side by side.

    Args:
        filters: (K, C, h, w).
        n_columns: filters in a row; None: about as many as rows.
        zoom: each value of a filter becomes a square of this many pixels.

    Raises:
        ValueError: if `filters` has another shape.
    """
    if filters.ndim != 4 or len(filters) == 0:
        raise ValueError(f"filters to draw must have the shape (K, C, h, w), got {tuple(filters.shape)}")
    filters = filters.detach().float().cpu()
    largest = filters.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    tiles = (127.5 + 127.5 * filters / largest).round().to(torch.uint8)
    if tiles.shape[1] not in (1, 3):
        tiles = tiles.permute(0, 2, 1, 3).flatten(2).unsqueeze(1)  # (K, 1, h, C w)
    tiles = tiles.expand(-1, 3, -1, -1).repeat_interleave(zoom, 2).repeat_interleave(zoom, 3)
    line = max(1, zoom // 4)
    tiles = F.pad(tiles, (0, line, 0, line), value=BORDER)
    n_columns = n_columns or math.ceil(math.sqrt(len(tiles)))
    n_rows = math.ceil(len(tiles) / n_columns)
    missing = n_rows * n_columns - len(tiles)
    tiles = torch.cat([tiles, tiles.new_full((missing, *tiles.shape[1:]), BORDER)])
    height, width = tiles.shape[2:]
    grid = tiles.view(n_rows, n_columns, 3, height, width).permute(0, 3, 1, 4, 2)
    picture: Tensor = F.pad(grid.reshape(n_rows * height, n_columns * width, 3), (0, 0, line, 0, line, 0), value=BORDER)
    return picture


def save_filters(filters: Tensor, path: Path, *, n_columns: int | None = None, zoom: int = 8) -> None:
    """Write :func:`filter_grid` of filters (K, C, h, w) to an image file; its suffix decides the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(filter_grid(filters, n_columns=n_columns, zoom=zoom).numpy()).save(path)


def first_convolution(backbone: Backbone) -> tuple[str, Tensor]:
    """Name and filters (K, C, h, w) of the convolution that runs first; in Coates' network, its centroids.

    Raises:
        ValueError: if there is no convolution.
    """
    if isinstance(backbone, Coates):
        code = backbone.code
        return "features.conv1", code.centroids.view(-1, code.in_channels, code.patch_size, code.patch_size)
    name, conv, _ = first_layer(
        backbone, torch.zeros(1, backbone.in_channels, backbone.image_size, backbone.image_size)
    )
    return name, conv.weight.detach()
