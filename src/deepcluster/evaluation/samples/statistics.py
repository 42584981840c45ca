"""Numbers that tell what kind of picture one is, not what it shows: colours, contrast, sharpness. Next: odd.py.

Drawings, documents, enlarged small pictures and pictures from another camera differ in these from photographs.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

SIDES = (64, 32, 16, 8)  # of the octaves, from fine to coarse
QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)  # of the grey levels
N = 31


def picture_statistics(colours: Tensor, grey: Tensor) -> Tensor:
    """(B, 31) float32.

    Mean and deviation of each colour and of the saturation; of each octave energy, largest difference, peakedness and
    how much stronger it is across than along; quantiles of the grey levels.

    Args:
        colours: (B, 3, 64, 64) from 0 to 255.
        grey: (B, 64, 64) from 0 to 255.
    """
    parts = [colours.mean(dim=(2, 3)) / 255, colours.std(dim=(2, 3)) / 255]
    highest, lowest = colours.amax(dim=1) / 255, colours.amin(dim=1) / 255
    saturation = (highest - lowest) / (highest + 1e-3)
    parts += [saturation.mean(dim=(1, 2))[:, None], saturation.std(dim=(1, 2))[:, None]]
    for side in SIDES:
        parts.append(_octave(F.adaptive_avg_pool2d(grey[:, None], side), side))
    quantiles = torch.tensor(QUANTILES, device=grey.device)
    return torch.cat([*parts, torch.quantile(grey.flatten(1) / 255, quantiles, dim=1).T], dim=1)


def _octave(picture: Tensor, side: int) -> Tensor:
    """(B, 4): what a picture of this side shows and one of half the side does not."""
    coarse = F.interpolate(F.adaptive_avg_pool2d(picture, side // 2), side, mode="bilinear")
    detail = (picture - coarse)[:, 0]
    energy = detail.square().mean(dim=(1, 2))
    peaked = detail.pow(4).mean(dim=(1, 2)) / (energy.square() + 1)
    across = (picture[..., 1:] - picture[..., :-1]).square().mean(dim=(1, 2, 3))
    along = (picture[..., 1:, :] - picture[..., :-1, :]).square().mean(dim=(1, 2, 3))
    numbers = (energy, detail.abs().amax(dim=(1, 2)), peaked)
    return torch.stack([*(each.log1p() for each in numbers), across.log1p() - along.log1p()], dim=1)
