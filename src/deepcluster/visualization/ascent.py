"""Gradient ascent on images that excite a channel. stage_ascent.py calls it for a stage and keeps the results."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor
from torch.nn import functional as F

from deepcluster.system.seeding import generator
from deepcluster.visualization.ascent_recipes import Recipe

LEAST_LENGTH = 1e-12  # a gradient is divided by its length or this, so a gradient of zeros changes nothing


class Bounds(NamedTuple):
    """Normalised values of black and of white, (C, 1, 1) each."""

    low: Tensor
    high: Tensor


def start(recipe: Recipe, n_channels: int, size: int, *, seed: int, grey: bool = False) -> Tensor:
    """Noise (C, S, S) float32 to start from, the same for the same seed; `grey`: the same in all C channels."""
    drawn = torch.randn(1 if grey else n_channels, size, size, generator=generator(seed, "gradient ascent"))
    return (recipe.start_mean + recipe.start_std * drawn).expand(n_channels, -1, -1).clone()


def ascend(
    answer: Callable[[Tensor], Tensor],
    images: Tensor,
    channels: Tensor,
    recipe: Recipe,
    *,
    seed: int,
    bounds: Bounds | None = None,
    advance: Callable[[int], None] = lambda n: None,
) -> Tensor:
    """Change each image step by step so that its own channel answers more strongly than the others.

    The objective of image i is that of the 2018 code: log softmax over the channels' answers, at channel i, minus
    weight_decay x its squared length. No image's objective depends on another, and shifts depend on seed and step only,
    so a batch gives what each image gives alone.

    Args:
        answer: images (B, C, S, S) -> answers (B, c) of the c channels, each row computed from its own image only.
        images: (B, C, S, S), to start from.
        channels: (B,) int64, the channel that each image is to excite.
        recipe: number and length of steps, regularisation.
        seed: of the shifts.
        bounds: limits of the pixels; None: no limits.
        advance: called with B after each step.

    Returns:
        The images after the last step, (B, C, S, S).

    Raises:
        ValueError: if the answers have no gradient, such as hard codes.
    """
    size = images.shape[-1]
    blur = _blur_matrix(size, recipe.blur_sigma).to(images) if recipe.blur_sigma else None
    random = generator(seed, "shifts")
    furthest = max(1, round(recipe.jitter * size)) if recipe.jitter else 0
    images = images.detach()
    for step in range(recipe.n_steps):
        images = images.requires_grad_(True)
        shown = images
        if furthest:
            down, right = torch.randint(-furthest, furthest + 1, (2,), generator=random).tolist()
            shown = torch.roll(images, (down, right), dims=(2, 3))
        answers = answer(shown)
        if not answers.requires_grad:
            raise ValueError(
                "this stage's answers have no gradient, as with hard codes, so there is nothing to climb; "
                "choose another evaluation.stage"
            )
        objective = -F.cross_entropy(answers, channels, reduction="sum")
        objective = objective - recipe.weight_decay * images.square().sum()
        (gradient,) = torch.autograd.grad(objective, images)
        if recipe.low_first:
            gradient = _divided_by_frequency(gradient)
        length = gradient.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()
        if recipe.by_rms:
            length = length / gradient[0].numel() ** 0.5
        images = images.detach() + recipe.lr * gradient / length.clamp_min(LEAST_LENGTH)
        if blur is not None and step % recipe.blur_every == 0:
            images = blur @ images @ blur.T
        if bounds is not None:
            images = torch.minimum(torch.maximum(images, bounds.low), bounds.high)
        advance(len(images))
    return images


def deprocess(images: Tensor) -> Tensor:
    """Pixels as in the 2018 code: each image scaled to mean 0.5 and std 0.1, then clipped; uint8 (B, C, S, S)."""
    centred = images - images.mean(dim=(1, 2, 3), keepdim=True)
    scaled = centred / centred.square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp_min(1e-5)
    return _to_pixels(0.1 * scaled + 0.5)


def denormalise(images: Tensor, mean: list[float], std: list[float]) -> Tensor:
    """Pixels of normalised images (B, C, S, S), uint8."""
    return _to_pixels(
        images * torch.tensor(std).view(-1, 1, 1).to(images) + torch.tensor(mean).view(-1, 1, 1).to(images)
    )


def black_and_white(mean: list[float], std: list[float]) -> Bounds:
    """The normalised values of pixels 0 and 1."""
    m, s = torch.tensor(mean).view(-1, 1, 1), torch.tensor(std).view(-1, 1, 1)
    return Bounds(low=-m / s, high=(1 - m) / s)


def _to_pixels(images: Tensor) -> Tensor:
    return (255 * images.clamp(0, 1)).round().to(torch.uint8)


def _blur_matrix(size: int, sigma: float) -> Tensor:
    """M (S, S): M @ image @ M.T is scipy's gaussian_filter of the image, which the 2018 code uses."""
    return torch.from_numpy(gaussian_filter1d(np.eye(size), sigma, axis=0))


def _divided_by_frequency(gradient: Tensor) -> Tensor:
    """A gradient (..., S, S) with its spectrum divided by the frequency; 0 counts as the lowest other one."""
    size = gradient.shape[-1]
    down = torch.fft.fftfreq(size, device=gradient.device)[:, None]
    right = torch.fft.rfftfreq(size, device=gradient.device)[None]
    frequency = (down.square() + right.square()).sqrt().clamp_min(1 / size)
    divided: Tensor = torch.fft.irfft2(torch.fft.rfft2(gradient) / frequency, s=(size, size))
    return divided
