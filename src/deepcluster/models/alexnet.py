"""The paper's AlexNet, and the small one of "A Deep Dive into Deep Cluster" for 32x32 images. Next: vgg.py."""

from collections.abc import Sequence

from deepcluster.models.stages import Convolution, PlainNetwork, he_fan_out

# original: alexnet.py, CFG['2012']. No groups, no LRN.
CONVOLUTIONS = (
    Convolution(11, stride=4, padding=2, pool=(3, 2)),
    Convolution(5, padding=2, pool=(3, 2)),
    Convolution(3, padding=1),
    Convolution(3, padding=1),
    Convolution(3, padding=1, pool=(3, 2)),
)
SMALL_CONVOLUTIONS = (  # the Deep Dive's
    Convolution(3, padding=2, pool=(2, 2)),
    Convolution(3, padding=2, pool=(2, 2)),
    Convolution(3, padding=1),
    Convolution(3, padding=1),
    Convolution(3, padding=1, pool=(3, 2)),
)


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
        dropout: share of units dropped before each linear layer.
        batch_norm: BatchNorm after each convolution, instead of the LRN of 2012.
        sobel: the network sees edges instead of colours, as in the paper (the 2018 code's default was off); "random":
            two frozen random filters, as in the code of "A Deep Dive into Deep Cluster" (see :class:`Sobel`).
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
        sobel: bool | str = True,
    ) -> None:
        super().__init__(
            CONVOLUTIONS,
            neck=("drop6", "fc6", "relu6", "drop7", "fc7"),
            channels=channels,
            hidden=hidden,
            feature_dim=feature_dim,
            dropout=dropout,
            batch_norm=batch_norm,
            in_channels=in_channels,
            image_size=image_size,
            sobel=sobel,
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
        dropout: share of units dropped before each linear layer.
        batch_norm: BatchNorm after each convolution.
        sobel: the network sees edges instead of colours, as in the paper; "random": two frozen random filters, as in
            its code (see :class:`Sobel`).
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
        sobel: bool | str = True,
    ) -> None:
        super().__init__(
            SMALL_CONVOLUTIONS,
            neck=("drop1", "fc1", "relu1", "drop2", "fc2"),
            channels=channels,
            hidden=hidden,
            feature_dim=feature_dim,
            dropout=dropout,
            batch_norm=batch_norm,
            in_channels=in_channels,
            image_size=image_size,
            sobel=sobel,
        )
        he_fan_out(self)
