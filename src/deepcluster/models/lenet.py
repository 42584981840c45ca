"""LeNet-5 for small grey images, as in "A Deep Dive into Deep Cluster". Next: alexnet.py, the larger one."""

from collections.abc import Sequence

from deepcluster.models.stages import Convolution, PlainNetwork, he_fan_out

CONVOLUTIONS = (Convolution(5, pool=(2, 2)), Convolution(5, pool=(2, 2)))


class LeNet5(PlainNetwork):
    """Two 5x5 convolutions with pooling, then 120 and 84 units; the 84 are the features (before ReLU).

    At 32x32: 6x28x28, pooled 6x14x14, 16x10x10, pooled 16x5x5 = 400.

    Args:
        in_channels: channels of the images.
        image_size: height and width of the images, at least 16.
        channels: filters of the two convolutions (the paper's 6 and 16).
        batch_norm: BatchNorm after each convolution.
        hidden: units of the first linear layer.
        feature_dim: features D.
        sobel: the network sees edges instead of colours.
    """

    def __init__(
        self,
        in_channels: int = 1,
        image_size: int = 32,
        channels: Sequence[int] = (6, 16),
        batch_norm: bool = False,
        hidden: int = 120,
        feature_dim: int = 84,
        sobel: bool | str = False,
    ) -> None:
        super().__init__(
            CONVOLUTIONS,
            neck=("fc1", "relu1", "fc2"),
            channels=channels,
            hidden=hidden,
            feature_dim=feature_dim,
            batch_norm=batch_norm,
            in_channels=in_channels,
            image_size=image_size,
            sobel=sobel,
        )
        # Only the convolutions. With the 2018 initialisation of fc1, fc2 (std 0.01, made for 4096 units) features are
        # 16 times smaller: at the paper's lr 0.1, momentum 0.1, K = 20 the loss stays near ln K for 4 epochs of 6,000
        # images; with torch's own initialisation it more than halves by the third epoch.
        he_fan_out(self.features)
