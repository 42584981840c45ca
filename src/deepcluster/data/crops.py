"""Where a random crop lies, and how it is resampled: torchvision's laws, in batches. Next: views.py."""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

_N_TRIES = 10  # torchvision: RandomResizedCrop.get_params tries so often, then takes the central crop
_STRIP = 16  # times as long as wide: beyond it only the part that is kept is resized
_GRID = 512  # cells of the ratio's distribution


def draw_boxes(
    draws: Tensor, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    """Boxes (B, 4) int64 (top, left, height, width) in images of one size, by RandomResizedCrop's law.

    torchvision draws area and log ratio uniformly until the box fits. Here the ratio comes from its
    distribution given that the box fits, and the area from those that fit with that ratio: the same law
    from two numbers. The fifth number decides if ten tries would all have failed (long, narrow images):
    then it is the central crop.

    Args:
        draws: (B, 5 or more) uniforms in [0, 1): area, ratio, top, left, fallback.
        scale: smallest and largest share of the area.
        ratio: smallest and largest width / height.
    """
    edges, cdf, accepted = _ratio_law(height, width, scale, ratio, str(draws.device))
    target = draws[:, 1] * cdf[-1]
    cell = (torch.searchsorted(cdf, target, right=True) - 1).clamp(0, _GRID - 1)
    within = (target - cdf[cell]) / (cdf[cell + 1] - cdf[cell]).clamp_min(1e-12)
    shape = torch.exp(edges[cell] + within.clamp(0, 1) * (edges[1] - edges[0]))
    largest = _largest_share(shape, height, width).clamp(max=scale[1])
    area = (scale[0] + draws[:, 0] * (largest - scale[0])) * (height * width)
    size = torch.stack([torch.sqrt(area / shape), torch.sqrt(area * shape)], 1).round().long()
    limit = torch.tensor([height, width], device=draws.device)
    size = torch.minimum(size.clamp(min=1), limit)
    corner = torch.minimum((draws[:, 2:4] * (limit - size + 1)).long(), limit - size)
    central = torch.tensor(_central_box(height, width, ratio), device=draws.device)
    failed = draws[:, 4] < (1 - accepted) ** _N_TRIES
    return torch.where(failed[:, None], central, torch.cat([corner, size], 1))


def square(images: Tensor, resize: int, size: int) -> Tensor:
    """uint8 (..., C, h, w): the short side to `resize`, then the central square of `size`; uint8."""
    if _is_strip(*images.shape[-2:]):
        return _square_of_strip(images, resize, size).round().clamp(0, 255).to(torch.uint8)
    resized: Tensor = TF.resize(images, [resize], antialias=True)
    cropped: Tensor = TF.center_crop(resized, [size, size])
    return cropped


def central_crop(images: Tensor, resize: int, size: int) -> Tensor:
    """Like :func:`square` for float (B, C, H, W), without rounding to 8 bits in between."""
    if _is_strip(*images.shape[2:]):
        return _square_of_strip(images, resize, size)
    cropped: Tensor = TF.center_crop(with_short_side(images, resize), [size, size])
    return cropped


def with_short_side(images: Tensor, resize: int) -> Tensor:
    """Float images (B, C, H, W) with their short side brought to `resize`, as torchvision does; others as they are."""
    height, width = images.shape[2:]
    if min(height, width) == resize:
        return images
    target = resized_sides(height, width, resize)
    return F.interpolate(images, size=target, mode="bilinear", align_corners=False, antialias=True)


def resized_sides(height: int, width: int, resize: int) -> tuple[int, int]:
    """Height and width after torchvision has resized the short side to `resize`."""
    short = min(height, width)
    return (resize, int(resize * width / short)) if height == short else (int(resize * height / short), resize)


def first_of_centre(side: int, size: int) -> int:
    """Where torchvision's central crop of `size` pixels begins in `side` pixels."""
    return round((side - size) / 2)


def _is_strip(height: int, width: int) -> bool:
    """Whether an image is so long that most of it would be resized in order to be cut away."""
    return max(height, width) > _STRIP * min(height, width)


def _square_of_strip(images: Tensor, resize: int, size: int) -> Tensor:
    """:func:`central_crop` of (..., C, H, W) without the rest of the resized image: by its weights, float32."""
    pixels = images.float()
    height, width = images.shape[-2:]
    for axis, resized in zip((-2, -1), resized_sides(height, width, resize), strict=True):
        side = images.shape[axis]
        first = first_of_centre(resized, size)
        scale = side / resized
        centres = (first + torch.arange(size, device=images.device) + 0.5) * scale
        reach = max(scale, 1.0)
        start = max(0, int(centres[0] - reach))
        near = torch.arange(start, min(side, int(centres[-1] + reach) + 1), device=images.device)
        weights = (1 - (near + 0.5 - centres[:, None]).abs() / reach).clamp(min=0)
        weights = weights / weights.sum(1, keepdim=True)
        part = pixels.narrow(axis, start, len(near))
        pixels = weights @ part if axis == -2 else part @ weights.mT
    return pixels


def crop(images: Tensor, boxes: Tensor, flipped: Tensor, size: int) -> Tensor:
    """Cut boxes (B, 4) out of images (B, C, H, W) and bring them to float32 (B, C, S, S), bilinearly.

    Equal to torchvision's resized_crop with antialias on float images. If no box can be larger than the
    output, two neighbours per axis decide and grid_sample does it; else every pixel under the (wider)
    triangle counts, and the resampling is one small matrix per image and axis.
    """
    height, width = images.shape[2:]
    pixels = images.float()
    if max(height, width) > size:
        rows = _triangle_weights(boxes[:, 0], boxes[:, 2], height, size)
        columns = _triangle_weights(boxes[:, 1], boxes[:, 3], width, size)
        columns = torch.where(flipped.view(-1, 1, 1), columns.flip(1), columns)
        return rows[:, None] @ pixels @ columns[:, None].mT
    y = _sample_points(boxes[:, 0], boxes[:, 2], size)
    x = _sample_points(boxes[:, 1], boxes[:, 3], size)
    x = torch.where(flipped[:, None], x.flip(1), x)
    grid = torch.empty(len(boxes), size, size, 2, device=images.device)
    grid[..., 0] = ((2 * x + 1) / width - 1)[:, None, :]
    grid[..., 1] = ((2 * y + 1) / height - 1)[:, :, None]
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _sample_points(start: Tensor, length: Tensor, size: int) -> Tensor:
    """(B, S) coordinates of the output's pixels in the input; a crop sees nothing beyond its own edge."""
    steps = torch.arange(size, device=start.device) + 0.5
    points = steps * (length / size)[:, None] - 0.5
    return start[:, None] + torch.minimum(points.clamp(min=0), length[:, None] - 1.0)


def _triangle_weights(start: Tensor, length: Tensor, side: int, size: int) -> Tensor:
    """(B, S, side) weights of the input's pixels in each of the output's, rows sum to 1."""
    scale = (length / size)[:, None, None]
    centres = start[:, None, None] + (torch.arange(size, device=start.device) + 0.5)[:, None] * scale
    pixels = torch.arange(side, device=start.device)
    weights = (1 - (pixels + 0.5 - centres).abs() / scale.clamp(min=1)).clamp(min=0)
    inside = (pixels >= start[:, None, None]) & (pixels < (start + length)[:, None, None])
    weights = weights * inside
    return weights / weights.sum(2, keepdim=True)


def _largest_share(ratio: Tensor, height: int, width: int) -> Tensor:
    """Largest share of the area that a box of this width / height may have; half a pixel is rounded away."""
    widest = (width + 0.5) ** 2 / (height * width)
    highest = (height + 0.5) ** 2 / (height * width)
    return torch.minimum(widest / ratio, highest * ratio)


@lru_cache(maxsize=4096)
def _ratio_law(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], device: str
) -> tuple[Tensor, Tensor, float]:
    """Log ratios (G + 1,), their cumulated chance to be drawn and fit, the chance that a try fits."""
    edges = torch.linspace(math.log(ratio[0]), math.log(ratio[1]), _GRID + 1, dtype=torch.float64)
    largest = _largest_share(edges.exp(), height, width)
    if scale[1] > scale[0]:
        fits = ((largest.clamp(max=scale[1]) - scale[0]) / (scale[1] - scale[0])).clamp(min=0)
    else:
        fits = (largest >= scale[0]).double()
    cdf = torch.cat([torch.zeros(1, dtype=torch.float64), ((fits[1:] + fits[:-1]) / 2 / _GRID).cumsum(0)])
    return edges.float().to(device), cdf.float().to(device), float(cdf[-1])


def _central_box(height: int, width: int, ratio: tuple[float, float]) -> list[int]:
    """torchvision's fallback: the largest central box with an allowed ratio."""
    box_height, box_width = height, width
    if width / height < ratio[0]:
        box_height = max(1, min(height, round(width / ratio[0])))
    elif width / height > ratio[1]:
        box_width = max(1, min(width, round(height * ratio[1])))
    return [(height - box_height) // 2, (width - box_width) // 2, box_height, box_width]
