"""The paper's VGG-16. Next: resnet.py, timm_model.py."""

from collections.abc import Sequence

from deepcluster.models.stages import Convolution, PlainNetwork, he_fan_out

# original: vgg16.py, cfg. A pooling follows five of the thirteen convolutions.
CONVOLUTIONS = tuple(
    Convolution(3, padding=1, pool=(2, 2) if number in (2, 4, 7, 10, 13) else None) for number in range(1, 14)
)


class VGG16(PlainNetwork):
    """DeepCluster's VGG-16 with BatchNorm (Caron et al. 2018): fc7 before its ReLU, D = 4096.

    At 224x224 the five poolings leave 112, 56, 28, 14 and 7 pixels: 512x7x7 = 25,088. As in the original there is no
    dropout before fc6, unlike in AlexNet.

    Args:
        in_channels: channels of the images.
        image_size: height and width of the images, at least 32; the paper's is 224.
        channels: filters of the thirteen 3x3 convolutions.
        hidden: units of fc6, the first linear layer.
        feature_dim: features D, units of fc7.
        dropout: share of fc6's units dropped.
        batch_norm: BatchNorm after each convolution.
        sobel: the network sees edges instead of colours, as in the paper (the 2018 code's default was off).
    """

    def __init__(
        self,
        in_channels: int = 3,
        image_size: int = 224,
        channels: Sequence[int] = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512),
        hidden: int = 4096,
        feature_dim: int = 4096,
        dropout: float = 0.5,
        batch_norm: bool = True,
        sobel: bool | str = True,
    ) -> None:
        super().__init__(
            CONVOLUTIONS,
            neck=("fc6", "relu6", "drop6", "fc7"),
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
