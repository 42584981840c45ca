"""Give the first convolution the filters of a scattering transform: `init=scatter`.

models/wavelets.py has the formulas; patches of the images only tell the scale.
"""

import math
from typing import Any

import torch
from torch import Tensor

from deepcluster.data.images import ImageSet
from deepcluster.models.backbone import Backbone
from deepcluster.models.wavelets import Bank, low_pass, most_scales
from deepcluster.system.seeding import generator
from deepcluster.weights.patch_filters import fill, layer_to_fill, patches_seen
from deepcluster.weights.patch_settings import PatchSettings

SAMPLE = PatchSettings(n_patches=20_000, n_images=2_000)  # whose answers are measured
# Noise that is added to them, as a share of their standard deviation: a filter that sees nothing in these images
# (colours in grey ones) is not raised without bound.
NOISE = 0.01


def set_scatter_filters(
    backbone: Backbone,
    *,
    most_orientations: int,
    n_scales: int | None,
    card: dict[str, Any],
    images: ImageSet,
    seed: int,
) -> str:
    """Set the first convolution's filters in place.

    Args:
        most_orientations, n_scales: see ScatterInit.
        card: the network's description (checkpoint.py).
        seed: draws the patches, so it decides the scale only.

    Returns:
        A line for the user: which filters it has now.

    Raises:
        ValueError: if the layer cannot take them, or all patches are alike.
    """
    name, conv = layer_to_fill("scatter", backbone, card)
    size, n_channels = conv.kernel_size[0], conv.in_channels
    most = most_scales(size)
    if most == 0:
        raise ValueError(
            f"init=scatter needs a kernel of at least 3x3 for a wavelet, {name}'s has {size}x{size}; use init=random"
        )
    if n_scales is not None and n_scales > most:
        raise ValueError(
            f"init.n_scales={n_scales} does not fit {name}'s kernel of {size}x{size}, which holds {most}; lower it or "
            "leave it out"
        )
    n_wavelets = conv.out_channels - n_channels
    if n_wavelets < 2:
        raise ValueError(
            f"init=scatter needs at least {n_channels + 2} filters for a low-pass of each channel and both parts of a "
            f"wavelet, {name} has {conv.out_channels}; use init=random"
        )
    bank = Bank.of(n_wavelets, size, most_orientations=most_orientations, n_scales=n_scales)
    filters = scatter_filters(bank, size, n_channels, derivatives=backbone.sobel is not None)
    patches = patches_seen(SAMPLE, backbone, card, images, size, seed)
    if bool((patches == patches[0]).all()):
        raise ValueError(
            f"init=scatter fits the scale of {name}'s filters to patches of the images, and {len(patches):,} of them "
            "are all alike; use init=random"
        )
    noise = NOISE * patches.std() * torch.randn(patches.shape, generator=generator(seed, "scatter"))
    fill(conv, filters.float().flatten(1), patches + noise)
    kinds = f"orientations {bank.n_orientations}, scales {bank.n_scales}, phases {bank.n_phases}"
    shape = f"{size}x{size}x{n_channels}"
    return f"scatter: {name}'s filters of {shape}: low-passes {n_channels}, wavelets {bank.n} ({kinds})"


def scatter_filters(bank: Bank, size: int, n_channels: int, *, derivatives: bool) -> Tensor:
    """Filters (n_channels + bank.n, n_channels, size, size), float64: low-passes, then wavelets.

    The low-pass sees each axis of the channels' discrete cosine transform: of red, green and blue those are luminance,
    red - blue and green - magenta, which in photographs are nearly uncorrelated (Ohta, Kanade and Sakai 1980). Wavelets
    see the luminance, which has nearly all the fine detail; or, of Sobel's derivatives, the one along their wave.

    Args:
        derivatives: the two channels are the horizontal and the vertical derivative.
    """
    wavelets, angles = bank.wavelets(size)
    channel = torch.arange(n_channels, dtype=torch.float64)
    axes = torch.cos(math.pi / n_channels * channel.unsqueeze(1) * (channel + 0.5))
    mixtures = torch.stack([angles.cos(), angles.sin()], dim=1) if derivatives else axes[:1].expand(bank.n, n_channels)
    smooth = low_pass(size, n_scales=bank.n_scales).expand(n_channels, size, size)
    return torch.einsum("nc,nhw->nchw", torch.cat([axes, mixtures]), torch.cat([smooth, wavelets]))
