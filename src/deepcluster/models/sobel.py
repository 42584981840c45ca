"""Edges instead of colours: the fixed first layer of DeepCluster's networks. Next: backbone.py."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# original: alexnet.py, the two filters of `sobel_filter`
FILTERS = (((1, 0, -1), (2, 0, -2), (1, 0, -1)), ((1, 2, 1), (0, 0, 0), (-1, -2, -1)))


class Sobel(nn.Module):
    """Grey value, then horizontal and vertical derivative: (B, C, H, W) -> (B, 2, H, W).

    Nothing is learned, so checkpoints do not hold the filters. As in the original, images are padded with zeros, so
    that their border is an edge, and no BatchNorm follows. Images are normalised before.

    Args:
        in_channels: channels C of the images; each weighs 1/C in the grey value.
    """

    filters: Tensor

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        if in_channels < 1:
            raise ValueError(f"arch.in_channels must be at least 1, got {in_channels}")
        self.in_channels = in_channels
        filters = torch.tensor(FILTERS, dtype=torch.float32).unsqueeze(1)  # (2, 1, 3, 3)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        grey = images.mean(dim=1, keepdim=True)
        # float32, because differences of neighbours lose most in bfloat16, and one channel is cheap
        with torch.autocast(grey.device.type, enabled=False):
            return F.conv2d(grey.to(self.filters.dtype), self.filters, padding=1)

    def extra_repr(self) -> str:
        return f"in_channels={self.in_channels}"
