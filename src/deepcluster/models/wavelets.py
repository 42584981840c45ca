"""The filters of a scattering transform: Morlet wavelets and a low-pass. Next: weights/scatter_filters.py uses them.

Bruna and Mallat 2013, "Invariant Scattering Convolution Networks", with the constants of kymatio's filter bank. x runs
right and y down; a wavelet of angle t is a wave whose crests follow each other in the direction (cos t, sin t).
"""

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

FREQUENCY = 3 * math.pi / 4  # xi: of the finest wavelet, in radians per pixel; each scale halves it
SIGMA = 0.8  # standard deviation of the finest wavelet's envelope along its wave, in pixels; each scale doubles it
SLANT = 0.5  # that standard deviation, divided by the one along the crests
HELD = 1.5  # a kernel must reach so many standard deviations from its centre (3x3: 1.9 of the finest)
FEWEST_ORIENTATIONS = 4  # coarser scales are left out rather than have fewer


def morlet(size: int, *, scale: int, angle: float) -> Tensor:
    """A Morlet wavelet (size, size), complex128: g(u) (exp(i xi . u) - beta), with beta such that it sums to 0.

    g is the Gaussian envelope; both are of this scale (0: finest). What lies outside the kernel is cut off, so beta
    differs a little from that of the whole plane.

    Args:
        angle: of the wave, in radians.
    """
    x, y = _places(size)
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    sigma = SIGMA * 2**scale
    peak = SLANT / (2 * math.pi * sigma**2)
    envelope: Tensor = peak * torch.exp(-(along.square() + (SLANT * across).square()) / (2 * sigma**2))
    wave = torch.polar(torch.ones_like(along), FREQUENCY / 2**scale * along)
    return envelope * (wave - (envelope * wave).sum() / envelope.sum())


def low_pass(size: int, *, n_scales: int) -> Tensor:
    """The Gaussian (size, size), float64, that sees what wavelets of so many scales leave out."""
    x, y = _places(size)
    sigma = SIGMA * 2 ** (n_scales - 1)
    gaussian: Tensor = torch.exp(-(x.square() + y.square()) / (2 * sigma**2)) / (2 * math.pi * sigma**2)
    return gaussian


def most_scales(size: int) -> int:
    """How many scales a kernel of this size holds: 1 from 3x3, 2 from 5x5, 3 from 10x10."""
    return max(0, math.floor(math.log2(size / (2 * HELD * SIGMA))) + 1)


def _places(size: int) -> tuple[Tensor, Tensor]:
    """x and y of each pixel of a kernel (size, size) from its centre, float64."""
    place = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    return place.expand(size, size), place.unsqueeze(1).expand(size, size)


@dataclass(frozen=True, kw_only=True)
class Bank:
    """Which real filters are made of wavelets: all orientations at all scales in all phases, or the first n of them.

    The phases are, in this order, real part, imaginary part, and the negatives of both, which a ReLU tells apart;
    where there are more, the others lie evenly between. Phases change slowest.
    """

    n: int
    n_orientations: int
    n_scales: int
    n_phases: int

    @classmethod
    def of(cls, n: int, size: int, *, most_orientations: int, n_scales: int | None) -> "Bank":
        """Share out n filters: orientations first, up to the most, then scales, then phases beyond the two parts.

        Args:
            size: of the kernel.
            n_scales: None: as many as the kernel holds and FEWEST_ORIENTATIONS leave room for.
        """
        if n_scales is None:
            n_scales = min(most_scales(size), max(1, n // (2 * FEWEST_ORIENTATIONS)))
        n_orientations = min(most_orientations, math.ceil(n / (2 * n_scales)))
        n_phases = math.ceil(n / (n_orientations * n_scales))
        return cls(n=n, n_orientations=n_orientations, n_scales=n_scales, n_phases=n_phases)

    def wavelets(self, size: int) -> tuple[Tensor, Tensor]:
        """The filters (n, size, size) and the angles (n,) of their waves, float64."""
        rounds = math.ceil(self.n_phases / 4)
        phases = [math.pi / 2 * (number % 4 + number // 4 / rounds) for number in range(self.n_phases)]
        angles = [math.pi * number / self.n_orientations for number in range(self.n_orientations)]
        chosen = list(itertools.islice(itertools.product(phases, range(self.n_scales), angles), self.n))
        filters = [
            (morlet(size, scale=scale, angle=angle) * complex(math.cos(phase), -math.sin(phase))).real
            for phase, scale, angle in chosen
        ]
        return torch.stack(filters), torch.tensor([angle for _, _, angle in chosen], dtype=torch.float64)
