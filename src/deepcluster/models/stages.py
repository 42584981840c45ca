"""What AlexNet, VGG and LeNet share: convolution stages, then linear layers. Next: lenet.py, alexnet.py, vgg.py."""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence

from torch import nn

from deepcluster.models.backbone import Backbone, map_shape


class PlainNetwork(Backbone):
    """Stages and poolings in a row, whose last maps go flattened through linear layers.

    Args:
        layers: by name; those named conv1, conv2 ... are the stages.
        neck: makes the layers after the maps, for the number of values in the flattened maps of one image.
        feature_dim: features D that the neck gives.
        in_channels: channels of the images, before Sobel.
        image_size: height and width of the images.
        sobel: put Sobel in front; the first layer then takes 2 channels.

    Raises:
        ValueError: if the images are too small for the layers.
    """

    def __init__(
        self,
        layers: "OrderedDict[str, nn.Module]",
        neck: Callable[[int], "OrderedDict[str, nn.Module]"],
        *,
        feature_dim: int,
        in_channels: int,
        image_size: int,
        sobel: bool,
    ) -> None:
        features = nn.Sequential(layers)
        n_flat = math.prod(map_shape(features, 2 if sobel else in_channels, image_size))
        super().__init__(
            features=features,
            neck=nn.Sequential(OrderedDict(flatten=nn.Flatten(), **neck(n_flat))),
            feature_dim=feature_dim,
            stages=[name for name in layers if name.startswith("conv")],
            in_channels=in_channels,
            image_size=image_size,
            sobel=sobel,
        )


def conv_stage(
    n_in: int, n_out: int, kernel_size: int, *, stride: int = 1, padding: int = 0, batch_norm: bool
) -> nn.Sequential:
    """Convolution with bias, BatchNorm (optional), ReLU in place; a stage that can be tapped after its ReLU."""
    # In front of BatchNorm a bias changes nothing; the original's convolutions have one all the same.
    layers: list[nn.Module] = [nn.Conv2d(n_in, n_out, kernel_size, stride=stride, padding=padding)]
    if batch_norm:
        layers.append(nn.BatchNorm2d(n_out))
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


def check_widths(
    network: str,
    channels: Sequence[int],
    n_convolutions: int,
    dropout: float = 0.0,
    *,
    hidden: int,
    feature_dim: int,
) -> None:
    """Refuse another number of convolutions than the network has, layers without units, and a dropout of everything.

    Raises:
        ValueError: naming the key, its value and what would be right.
    """
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
