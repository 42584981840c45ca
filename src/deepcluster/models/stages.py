"""What LeNet, AlexNet and VGG share: convolutions, then two linear layers. Next: lenet.py, alexnet.py, vgg.py."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from deepcluster.models.backbone import Backbone, map_shape

LINEAR_STD = 0.01  # of the weights of linear layers at the start, as in the 2018 code


class Convolution(NamedTuple):
    """One convolution of a table: its kernel, and the max pooling behind it, given as (kernel, stride)."""

    kernel: int
    stride: int = 1
    padding: int = 0
    pool: tuple[int, int] | None = None


class PlainNetwork(Backbone):
    """Convolutions in a row, whose last maps go flattened through two linear layers.

    Args:
        convolutions: the network's table; their stages are called conv1, conv2 ..., their poolings pool1, pool2 ...
        neck: names of the layers after the maps, in order: drop* (dropout), fc* (linear), relu* (ReLU).
        channels: filters of each convolution.
        hidden: units of the first linear layer.
        feature_dim: features D, units of the second linear layer.
        dropout: share of the units that each dropout layer drops.
        batch_norm: BatchNorm after each convolution.
        in_channels: channels of the images, before Sobel.
        image_size: height and width of the images.
        sobel: put Sobel in front; the first convolution then takes 2 channels. "random": with random filters.

    Raises:
        ValueError: if a value is impossible, or the images are too small for the convolutions.
    """

    def __init__(
        self,
        convolutions: Sequence[Convolution],
        neck: Sequence[str],
        *,
        channels: Sequence[int],
        hidden: int,
        feature_dim: int,
        dropout: float = 0.0,
        batch_norm: bool,
        in_channels: int,
        image_size: int,
        sobel: bool | str,
    ) -> None:
        _check_widths(type(self).__name__, channels, len(convolutions), dropout, hidden=hidden, feature_dim=feature_dim)
        n_in = first_channels = 2 if sobel else in_channels
        maps: OrderedDict[str, nn.Module] = OrderedDict()
        for number, (n_out, convolution) in enumerate(zip(channels, convolutions, strict=True), start=1):
            maps[f"conv{number}"] = _conv_stage(n_in, n_out, convolution, batch_norm=batch_norm)
            if convolution.pool is not None:
                maps[f"pool{number}"] = nn.MaxPool2d(*convolution.pool)
            n_in = n_out
        features = nn.Sequential(maps)
        n_flat = math.prod(map_shape(features, first_channels, image_size))
        linear = iter([(n_flat, hidden), (hidden, feature_dim)])
        layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        for name in neck:
            if name.startswith("fc"):
                layers[name] = nn.Linear(*next(linear))
            else:
                layers[name] = nn.Dropout(dropout) if name.startswith("drop") else nn.ReLU(inplace=True)
        super().__init__(
            features=features,
            neck=nn.Sequential(layers),
            feature_dim=feature_dim,
            stages=[name for name in maps if name.startswith("conv")],
            in_channels=in_channels,
            image_size=image_size,
            sobel=sobel,
        )


def he_fan_out(network: nn.Module) -> None:
    """Draw all weights from torch's global generator, as the original's `_initialize_weights`.

    Convolutions N(0, 2 / (kernel area x output channels)), linear layers N(0, LINEAR_STD^2), biases 0,
    BatchNorm 1 and 0.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, LINEAR_STD)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _conv_stage(n_in: int, n_out: int, convolution: Convolution, *, batch_norm: bool) -> nn.Sequential:
    """Convolution with bias, BatchNorm (optional), ReLU in place; a stage that can be tapped after its ReLU."""
    # In front of BatchNorm a bias changes nothing; the original's convolutions have one all the same.
    layers: list[nn.Module] = [
        nn.Conv2d(n_in, n_out, convolution.kernel, stride=convolution.stride, padding=convolution.padding)
    ]
    if batch_norm:
        layers.append(nn.BatchNorm2d(n_out))
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


def _check_widths(
    network: str, channels: Sequence[int], n_convolutions: int, dropout: float, *, hidden: int, feature_dim: int
) -> None:
    """Refuse a wrong number of convolutions, a layer without units, and a dropout of everything."""
    if len(channels) != n_convolutions or min(channels) < 1:
        raise ValueError(
            f"arch.channels must name {n_convolutions} convolutions for {network}, each with at least 1 filter, "
            f"got {list(channels)}"
        )
    for name, units in (("hidden", hidden), ("feature_dim", feature_dim)):
        if units < 1:
            raise ValueError(f"arch.{name} must be at least 1, got {units}")
    if not 0 <= dropout < 1:
        raise ValueError(f"arch.dropout must be at least 0 and below 1, got {dropout}")
