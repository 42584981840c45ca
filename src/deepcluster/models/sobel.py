"""Edges instead of colours: the fixed first layer of DeepCluster's networks. Next: backbone.py."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# original: alexnet.py, the two filters of `sobel_filter`
FILTERS = (((1, 0, -1), (2, 0, -2), (1, 0, -1)), ((1, 2, 1), (0, 0, 0), (-1, -2, -1)))

RANDOM = "random"


class Sobel(nn.Module):
    """Grey value, then horizontal and vertical derivative: (B, C, H, W) -> (B, 2, H, W).

    Nothing is learned, so checkpoints do not hold the filters. As in the original, images are padded with zeros, so
    that their border is an edge, and no BatchNorm follows. Images are normalised before.

    The code of "A Deep Dive into Deep Cluster" draws the weights of all convolutions after it has made this layer, and
    so overwrites it; `random` is what its networks saw: a random mixture of the colours, then two random 3x3 filters,
    frozen, and held by checkpoints.

    Args:
        in_channels: channels C of the images; each weighs 1/C in the grey value.
        random: draw the mixture N(0, 2) and the filters N(0, 1/9) from torch's generator (He fan-out: 2 / (kernel area
            x output channels)).
    """

    filters: Tensor  # (2, 1, 3, 3)
    grey: Tensor | None  # (1, C, 1, 1), the mixture; None: the mean

    def __init__(self, in_channels: int, *, random: bool = False) -> None:
        super().__init__()
        if in_channels < 1:
            raise ValueError(f"arch.in_channels must be at least 1, got {in_channels}")
        self.in_channels = in_channels
        self.random = random
        filters = torch.tensor(FILTERS, dtype=torch.float32).unsqueeze(1)
        self.register_buffer("grey", math.sqrt(2) * torch.randn(1, in_channels, 1, 1) if random else None)
        self.register_buffer("filters", torch.randn(2, 1, 3, 3) / 3 if random else filters, persistent=random)

    def forward(self, images: Tensor) -> Tensor:
        grey = images.mean(dim=1, keepdim=True) if self.grey is None else (images * self.grey[0]).sum(1, keepdim=True)
        # float32, because differences of neighbours lose most in bfloat16, and one channel is cheap
        with torch.autocast(grey.device.type, enabled=False):
            return F.conv2d(grey.to(self.filters.dtype), self.filters, padding=1)

    def extra_repr(self) -> str:
        return f"in_channels={self.in_channels}" + (", random" if self.random else "")


def fixed_layer(sobel: bool | str, in_channels: int) -> Sobel | None:
    """The layer that `arch.sobel` names: true, false (none) or random.

    Raises:
        ValueError: if it is something else.
    """
    if sobel not in (True, False, RANDOM):
        raise ValueError(f"arch.sobel must be true, false or {RANDOM}, got {sobel}")
    return Sobel(in_channels, random=sobel == RANDOM) if sobel else None
