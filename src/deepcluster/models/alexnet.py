"""The paper's AlexNet, and the small one of "A Deep Dive into Deep Cluster" for 32x32 images. Next: vgg.py."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from deepcluster.models.init import he_fan_out
from deepcluster.models.stages import PlainNetwork, check_widths, conv_stage

# Kernel size, stride and padding of conv1..conv5; original: alexnet.py, CFG['2012']. No groups, no LRN.
CONVOLUTIONS = ((11, 4, 2), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))
SMALL_PADDING = (2, 2, 1, 1, 1)  # the Deep Dive's; all its convolutions are 3x3 with stride 1


class AlexNet(PlainNetwork):
    """DeepCluster's AlexNet (Caron et al. 2018): the features are fc7 before its ReLU, D = 4096.

    With the paper's channels at 224x224: 96x55x55, pooled 27; 256x27x27, pooled 13; 384, 384, 256 x13x13,
    pooled 256x6x6 = 9216. With 64, 192, 384, 256, 256 channels and 2048 units it is the AlexNet of the
    CIFAR-10 appendix of "A Deep Dive into Deep Cluster".

    Args:
        in_channels: channels of the images.
        image_size: height and width of the images, at least 63; the paper's is 224.
        channels: filters of the five convolutions.
        hidden: units of fc6, the first linear layer.
        feature_dim: features D, units of fc7.
        dropout: share of units dropped in front of each linear layer.
        batch_norm: BatchNorm after each convolution, in place of the LRN of 2012.
        sobel: edges in place of the image in front, as in the paper (the 2018 code's default was off).
    """

    def __init__(
        self,
        in_channels: int = 3,
        image_size: int = 224,
        channels: Sequence[int] = (96, 256, 384, 384, 256),
        hidden: int = 4096,
        feature_dim: int = 4096,
        dropout: float = 0.5,
        batch_norm: bool = True,
        sobel: bool = True,
    ) -> None:
        check_widths("AlexNet", channels, 5, dropout, hidden=hidden, feature_dim=feature_dim)
        first = 2 if sobel else in_channels
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        n_in = first
        for number, (n_out, (kernel, stride, padding)) in enumerate(zip(channels, CONVOLUTIONS, strict=True), start=1):
            layers[f"conv{number}"] = conv_stage(
                n_in, n_out, kernel, stride=stride, padding=padding, batch_norm=batch_norm
            )
            if number in (1, 2, 5):
                layers[f"pool{number}"] = nn.MaxPool2d(3, stride=2)
            n_in = n_out

        def neck(n_flat: int) -> OrderedDict[str, nn.Module]:
            return OrderedDict(
                drop6=nn.Dropout(dropout),
                fc6=nn.Linear(n_flat, hidden),
                relu6=nn.ReLU(inplace=True),
                drop7=nn.Dropout(dropout),
                fc7=nn.Linear(hidden, feature_dim),
            )

        super().__init__(
            layers, neck, feature_dim=feature_dim, in_channels=in_channels, image_size=image_size, sobel=sobel
        )
        he_fan_out(self)


class SmallAlexNet(PlainNetwork):
    """Five 3x3 convolutions and two linear layers; the second linear layer's output is the features.

    At 32x32: 48x34x34, pooled 17; 126x19x19, pooled 9; 192, 192, 128 x9x9, pooled 128x4x4 = 2048.

    Args:
        in_channels: channels of the images.
        image_size: height and width of the images, at least 6.
        channels: filters of the five convolutions (the paper's counts).
        feature_dim: features D.
        hidden: units of the first linear layer.
        dropout: share of units dropped in front of each linear layer.
        batch_norm: BatchNorm after each convolution.
        sobel: edges in place of the image in front, as in the paper.
    """

    def __init__(
        self,
        in_channels: int = 3,
        image_size: int = 32,
        channels: Sequence[int] = (48, 126, 192, 192, 128),
        feature_dim: int = 2048,
        hidden: int = 2048,
        dropout: float = 0.5,
        batch_norm: bool = True,
        sobel: bool = True,
    ) -> None:
        check_widths("SmallAlexNet", channels, 5, dropout, hidden=hidden, feature_dim=feature_dim)
        first = 2 if sobel else in_channels
        widths = [first, *channels]
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number, padding in enumerate(SMALL_PADDING, start=1):
            layers[f"conv{number}"] = conv_stage(
                widths[number - 1], widths[number], 3, padding=padding, batch_norm=batch_norm
            )
            if number in (1, 2):
                layers[f"pool{number}"] = nn.MaxPool2d(2)
            elif number == 5:
                layers["pool5"] = nn.MaxPool2d(3, stride=2)

        def neck(n_flat: int) -> OrderedDict[str, nn.Module]:
            return OrderedDict(
                drop1=nn.Dropout(dropout),
                fc1=nn.Linear(n_flat, hidden),
                relu1=nn.ReLU(inplace=True),
                drop2=nn.Dropout(dropout),
                fc2=nn.Linear(hidden, feature_dim),
            )

        super().__init__(
            layers, neck, feature_dim=feature_dim, in_channels=in_channels, image_size=image_size, sobel=sobel
        )
        he_fan_out(self)
