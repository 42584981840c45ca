"""Lay one small picture over another, as a crop lies in its picture, and compare them pixel by pixel.

The place and size of one in the other are found by Gauss-Newton steps from coarse to fine, as in Lucas and Kanade
1981, with gain and offset of the grey levels among the unknowns (Baker and Matthews 2004).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

SIDES = (8, 16, 32)  # pixels, from coarse to fine
STEPS = 5  # at each
SIZES = (0.7, 1.4)  # smallest and largest scale of one picture in the other
FARTHEST = 0.4  # move of the centre, in half sides
LONGEST = 0.15  # change of scale or place in a step
DAMPING = 1e-3
AT_ONCE = 250  # pairs


@torch.no_grad()
def aligned_distances(first: Tensor, second: Tensor) -> Tensor:
    """How different pictures are where they overlap after the better of both alignments: (M,) in [0, 2].

    It is the Euclidean distance of both pictures' grey levels, brought to mean 0 and length 1: sqrt(2 - 2 r) with r
    their correlation. So brightness and contrast do not count.

    Args:
        first, second: (M, 64, 64) uint8.
    """
    parts = [
        torch.maximum(_correlation(one, other), _correlation(other, one))
        for one, other in zip(torch.split(_normed(first), AT_ONCE), torch.split(_normed(second), AT_ONCE), strict=True)
    ]
    return (2 - 2 * torch.cat(parts)).clamp(min=0).sqrt() if parts else torch.empty(0)


def _normed(pictures: Tensor) -> Tensor:
    """float32 of mean 0 and variance 1, so that damping means the same for dark pictures."""
    grey = pictures.float()
    grey = grey - grey.mean(dim=(1, 2), keepdim=True)
    return grey / grey.square().mean(dim=(1, 2), keepdim=True).sqrt().clamp(min=1.0)


def _correlation(fixed: Tensor, moving: Tensor) -> Tensor:
    """Of the fixed picture and the part of the other that lies under it; the better of aligned and as they are."""
    place = torch.tensor([1.0, 1.0, 0.0, 0.0], device=fixed.device).repeat(len(fixed), 1)
    as_it_is = _overlap(fixed, moving, place)
    for side in SIDES:
        place = _refined(fixed, moving, place, side)
    return torch.maximum(as_it_is, _overlap(fixed, moving, place)).clamp(-1, 1)


def _refined(fixed: Tensor, moving: Tensor, place: Tensor, side: int) -> Tensor:
    """Better places (M, 4) by Gauss-Newton on pictures of `side` pixels: width, height, right and down of the part."""
    target, source = _shrunk(fixed, side), _shrunk(moving, 2 * side)
    if side < SIDES[-1]:
        source = F.avg_pool2d(F.pad(source[:, None], (1, 1, 1, 1), mode="replicate"), 3, 1)[:, 0]
    at = _positions(side, fixed.device)
    for _ in range(STEPS):
        part, inside = _part(source, place, side)
        right = (part[:, :, 2:] - part[:, :, :-2]) * (side / 4) / place[:, 0, None, None]
        down = (part[:, 2:] - part[:, :-2]) * (side / 4) / place[:, 1, None, None]
        right, down = F.pad(right, (1, 1)), F.pad(down, (0, 0, 1, 1))
        counted = F.pad(inside[:, 1:-1, 1:-1].float(), (1, 1, 1, 1))
        unknowns = (right * at, down * at[:, None], right, down, -target, -torch.ones_like(target))
        jacobian = torch.stack([(each * counted).flatten(1) for each in unknowns], dim=2)
        normal = jacobian.transpose(1, 2) @ jacobian
        normal = normal + torch.diag_embed(normal.diagonal(dim1=1, dim2=2) * DAMPING + 1e-6)
        wanted = jacobian.transpose(1, 2) @ (part * counted).flatten(1)[:, :, None]
        step = torch.linalg.solve(normal, wanted)[:, :4, 0]  # the rest is gain and offset
        place = place - step.clamp(-LONGEST, LONGEST)
        place = torch.cat([place[:, :2].clamp(*SIZES), place[:, 2:].clamp(-FARTHEST, FARTHEST)], dim=1)
    return place


def _overlap(fixed: Tensor, moving: Tensor, place: Tensor) -> Tensor:
    """Correlation (M,) of the pixels that both have."""
    part, inside = _part(moving, place, SIDES[-1])
    counted = inside.float()
    n = counted.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    one, other = (
        (each - (each * counted).sum(dim=(1, 2), keepdim=True) / n) * counted
        for each in (_shrunk(fixed, SIDES[-1]), part)
    )
    lengths = (one.square().sum(dim=(1, 2)) * other.square().sum(dim=(1, 2))).sqrt()
    return (one * other).sum(dim=(1, 2)) / lengths.clamp(min=1e-6)


def _part(source: Tensor, place: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """The part of each picture at its place, (M, side, side), and which of its pixels lie in the picture."""
    at = _positions(side, source.device)
    x, y = (place[:, i, None] * at + place[:, i + 2, None] for i in (0, 1))
    grid = torch.stack([x[:, None, :].expand(-1, side, -1), y[:, :, None].expand(-1, -1, side)], dim=3)
    part = F.grid_sample(source[:, None], grid, align_corners=False, padding_mode="border")[:, 0]
    return part, (x.abs() <= 1)[:, None, :] & (y.abs() <= 1)[:, :, None]


def _positions(side: int, device: torch.device) -> Tensor:
    """Of pixels' middles, from -1 to 1."""
    return (torch.arange(side, device=device) + 0.5) * (2 / side) - 1


def _shrunk(pictures: Tensor, side: int) -> Tensor:
    return F.adaptive_avg_pool2d(pictures[:, None], side)[:, 0]
