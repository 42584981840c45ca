"""Numbers that tell what kind of picture one is, not what it shows: colours, contrast, sharpness. Next: odd.py.

Drawings, documents, enlarged small pictures and pictures from another camera differ in these from photographs.
"""

import itertools

import torch
from torch import Tensor
from torch.nn import functional as F

SIDES = (64, 32, 16, 8)  # of the octaves, from fine to coarse
QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)  # of the grey levels
BANDS = (1, 2, 4, 8, 16, 20, 24, 28, 32, 46)  # edges, in waves across the picture; the last are in its corners
LEVELS = 32  # bins of the grey levels
N = 43


def picture_statistics(colours: Tensor, grey: Tensor) -> Tensor:
    """(B, 43) float32.

    Mean and deviation of each colour and of the saturation; of each octave energy, largest difference, peakedness and
    how much stronger it is across than along; quantiles of the grey levels; power in bands of frequencies; how unequal
    the histogram of the grey levels is.

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
    parts.append(torch.quantile(grey.flatten(1) / 255, quantiles, dim=1).T)
    return torch.cat([*parts, _bands(grey), _evenness(grey)], dim=1)


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


def _bands(grey: Tensor) -> Tensor:
    """(B, 9): the mean power of each band, as a logarithm: of the finest detail, which octaves hide, above all."""
    side = grey.shape[1]
    window = torch.hann_window(side, device=grey.device)
    waves = torch.fft.rfft2((grey - grey.mean(dim=(1, 2), keepdim=True)) * window * window[:, None])
    down, right = torch.fft.fftfreq(side, 1 / side), torch.fft.rfftfreq(side, 1 / side)
    frequencies = torch.hypot(down[:, None], right).to(grey.device)
    power = waves.abs().square()
    bands = [(frequencies >= low) & (frequencies < high) for low, high in itertools.pairwise(BANDS)]
    return torch.stack([power[:, band].mean(dim=1).log1p() for band in bands], dim=1)


def _evenness(grey: Tensor) -> Tensor:
    """(B, 3): entropy of the histogram of the grey levels, its highest bin, the logarithm of its sum of squares."""
    bins = (grey.flatten(1) * (LEVELS / 256)).long().clamp(0, LEVELS - 1)
    counts = torch.zeros(len(grey), LEVELS, device=grey.device).scatter_add_(1, bins, torch.ones_like(bins).float())
    shares = counts / bins.shape[1]
    entropy = -torch.special.xlogy(shares, shares).sum(dim=1)
    return torch.stack([entropy, shares.amax(dim=1), shares.square().sum(dim=1).log()], dim=1)
