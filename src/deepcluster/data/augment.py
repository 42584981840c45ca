"""Colour jitter, grey and blur for a batch, each image with its own random numbers. Used by views.py."""

from itertools import permutations
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from deepcluster.data.view_settings import View

N_DRAWS = 9  # jitter or not, order, brightness, contrast, saturation, hue, grey or not, blur or not, sigma
_ORDERS = torch.tensor(list(permutations(range(4))))
_LEAST_WEIGHT = 1e-9  # of a pixel in the blur; what is below changes nothing but makes denormals, ten times as slow


class Parameters(NamedTuple):
    """What happens to each image of a batch.

    jittered, grey, blurred: (B,) bool. order: (B, 4) int64, which of brightness (0), contrast (1), saturation (2)
    and hue (3) comes first, second, ... factors: (B, 4), theirs. sigma: (B,), pixels.
    """

    jittered: Tensor
    order: Tensor
    factors: Tensor
    grey: Tensor
    blurred: Tensor
    sigma: Tensor


class Augmentation:
    """Colour jitter, then grey, then blur: SimCLR's order (Chen et al. 2020, appendix A).

    Per image the result is torchvision's (`adjust_brightness`, ..., `rgb_to_grayscale`, `gaussian_blur`) with
    `parameters`. As in torchvision's ColorJitter the four changes of colour come in random order, here drawn for
    each image. Saturation, hue and grey change only images of three channels; of others, whose channels need not be
    colours, contrast takes its grey value from all channels alike.

    Args:
        color_jitter: strengths b, c, s, h: factors uniform in [max(0, 1 - b), 1 + b], likewise c and s, and a turn
            of the hue uniform in [-h, h], where 1 is the whole circle.
        jitter_probability, grey_probability, blur_probability: shares of the images.
        blur_sigma: smallest and largest standard deviation of the Gaussian, uniform, in pixels.
    """

    def __init__(
        self,
        color_jitter: list[float],
        jitter_probability: float,
        grey_probability: float,
        blur_probability: float,
        blur_sigma: list[float],
    ) -> None:
        self.strengths = [float(strength) for strength in color_jitter]
        self.jitter_probability = jitter_probability if any(self.strengths) else 0.0
        self.grey_probability = grey_probability
        self.blur_probability = blur_probability
        self.blur_sigma = (float(blur_sigma[0]), float(blur_sigma[1]))

    def parameters(self, draws: Tensor) -> Parameters:
        """From (B, 9) uniforms in [0, 1)."""
        strength = torch.tensor(self.strengths)
        low = torch.cat([(1 - strength[:3]).clamp(min=0), -strength[3:]])
        high = torch.cat([1 + strength[:3], strength[3:]])
        smallest, largest = self.blur_sigma
        return Parameters(
            jittered=draws[:, 0] < self.jitter_probability,
            order=_ORDERS[(draws[:, 1] * len(_ORDERS)).long()],
            factors=low + draws[:, 2:6] * (high - low),
            grey=draws[:, 6] < self.grey_probability,
            blurred=draws[:, 7] < self.blur_probability,
            sigma=smallest + draws[:, 8] * (largest - smallest),
        )

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """Change float32 images (B, C, H, W) in [0, 1] in place, by their draws (B, 9)."""
        # The parameters are computed on the CPU: the work is done only for those images that have it, and how many
        # these are must be known here. A GPU waits once per batch for it.
        parameters = self.parameters(draws.cpu())
        coloured = images.shape[1] == 3
        for place in range(4):
            for number, (strength, adjust) in enumerate(zip(self.strengths, _ADJUST, strict=True)):
                if strength == 0 or (number >= 2 and not coloured):
                    continue
                mine = (parameters.jittered & (parameters.order[:, place] == number)).nonzero()[:, 0]
                if len(mine):
                    factors = parameters.factors[mine, number].view(-1, 1, 1, 1).to(images.device)
                    rows = mine.to(images.device)
                    images[rows] = adjust(images[rows], factors)
        mine = parameters.grey.nonzero()[:, 0]
        if len(mine) and coloured:
            rows = mine.to(images.device)
            images[rows] = _grey(images[rows]).expand(-1, 3, -1, -1)
        mine = parameters.blurred.nonzero()[:, 0]
        if len(mine):
            rows = mine.to(images.device)
            images[rows] = blur(images[rows], parameters.sigma[mine].to(images.device))
        return images


def augmentation(settings: View) -> Augmentation | None:
    """What the settings ask for; None if they ask for nothing."""
    made = Augmentation(
        settings.color_jitter,
        settings.jitter_probability,
        settings.grey_probability,
        settings.blur_probability,
        settings.blur_sigma,
    )
    changes_something = made.jitter_probability or made.grey_probability or made.blur_probability
    return made if changes_something else None


def blur_radius(side: int) -> int:
    """Pixels to either side of the centre that a blur sees; SimCLR: the kernel is a tenth of the image."""
    return max(1, side // 10 // 2)


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of (B, C, H, W), each image with its own sigma (B,); mirrored at the edges."""
    n, channels, height, width = images.shape
    radius = blur_radius(min(height, width))
    taps = torch.arange(-radius, radius + 1, device=images.device)
    weights = torch.exp(-0.5 * (taps / sigma[:, None]) ** 2)
    weights = weights / weights.sum(1, keepdim=True)
    weights = torch.where(weights < _LEAST_WEIGHT, 0, weights).repeat_interleave(channels, 0)
    # one group per image and channel: each has its own filter
    padded = F.pad(images, [radius] * 4, mode="reflect").flatten(0, 1)[None]
    rows = F.conv2d(padded, weights[:, None, None, :], groups=n * channels)
    return F.conv2d(rows, weights[:, None, :, None], groups=n * channels).view(n, channels, height, width)


def _grey(images: Tensor) -> Tensor:
    """(B, 1, H, W) by torchvision's weights; without three colours the mean of the channels."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    red, green, blue = images.unbind(1)
    return (0.2989 * red + 0.587 * green + 0.114 * blue)[:, None]


def _brightness(images: Tensor, factors: Tensor) -> Tensor:
    return (images * factors).clamp_(0, 1)


def _contrast(images: Tensor, factors: Tensor) -> Tensor:
    return torch.lerp(_grey(images).mean((1, 2, 3), keepdim=True), images, factors).clamp_(0, 1)


def _saturation(images: Tensor, factors: Tensor) -> Tensor:
    return torch.lerp(_grey(images), images, factors).clamp_(0, 1)


def _hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of the HSV model; each channel is value - chroma * trapezoid(hue)."""
    red, green, blue = images.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    is_red, is_green = value == red, value == green
    difference = torch.where(is_red, green - blue, torch.where(is_green, blue - red, red - green))
    sector = difference / torch.where(chroma == 0, 1, chroma)  # of six
    sector += torch.where(is_red, 0.0, torch.where(is_green, 2.0, 4.0))
    starts = torch.tensor([3.0, 1.0, -1.0], device=images.device).view(1, 3, 1, 1)
    # round, not remainder: that is ten times as slow
    place = sector[:, None] + (starts + 6 * turns)
    place -= 6 * (place / 6).round_()
    share = place.abs_().neg_().add_(2).clamp_(0, 1)
    return torch.addcmul(value[:, None], chroma[:, None], share, value=-1)


_ADJUST = (_brightness, _contrast, _saturation, _hue)
