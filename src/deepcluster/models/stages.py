"""What AlexNet, VGG and LeNet are made of: one convolution stage. Next: lenet.py, alexnet.py, vgg.py."""

from collections.abc import Sequence

from torch import nn


def conv_stage(
    n_in: int, n_out: int, kernel_size: int, *, stride: int = 1, padding: int = 0, batch_norm: bool
) -> nn.Sequential:
    """Convolution with bias, BatchNorm (optional), ReLU in place; a stage that can be tapped after its ReLU."""
    # In front of BatchNorm a bias changes nothing; the original's convolutions have one all the same.
    layers: list[nn.Module] = [nn.Conv2d(n_in, n_out, kernel_size, stride=stride, padding=padding)]
    if batch_norm:
        layers.append(nn.BatchNorm2d(n_out))
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


def check_widths(network: str, channels: Sequence[int], n_convolutions: int, dropout: float = 0.0) -> None:
    """Refuse another number of convolutions than the network has, and a dropout that drops everything.

    Raises:
        ValueError: naming the key, its value and what would be right.
    """
    if len(channels) != n_convolutions or min(channels) < 1:
        raise ValueError(
            f"arch.channels must name {n_convolutions} convolutions for {network}, each with at least 1 filter, "
            f"got {list(channels)}"
        )
    if not 0 <= dropout < 1:
        raise ValueError(f"arch.dropout must be at least 0 and below 1, got {dropout}")
