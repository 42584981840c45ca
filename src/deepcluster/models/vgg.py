"""The paper's VGG-16. Next: resnet.py, timm_model.py."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from deepcluster.models.init import he_fan_out
from deepcluster.models.stages import PlainNetwork, check_widths, conv_stage

POOLED = (2, 4, 7, 10, 13)  # convolutions that a pooling follows; original: vgg16.py, cfg


class VGG16(PlainNetwork):
    """DeepCluster's VGG-16 with BatchNorm (Caron et al. 2018): fc7 before its ReLU, D = 4096.

    At 224x224 the five poolings leave 112, 56, 28, 14 and 7 pixels: 512x7x7 = 25,088. As in the original, and
    unlike AlexNet, nothing is dropped in front of fc6.

    Args:
        in_channels: channels of the images.
        image_size: height and width of the images, at least 32; the paper's is 224.
        channels: filters of the thirteen 3x3 convolutions.
        hidden: units of fc6, the first linear layer.
        feature_dim: features D, units of fc7.
        dropout: share of fc6's units dropped.
        batch_norm: BatchNorm after each convolution.
        sobel: edges in place of the image in front, as in the paper (the 2018 code's default was off).
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
        sobel: bool = True,
    ) -> None:
        check_widths("VGG16", channels, 13, dropout, hidden=hidden, feature_dim=feature_dim)
        first = 2 if sobel else in_channels
        widths = [first, *channels]
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number in range(1, 14):
            layers[f"conv{number}"] = conv_stage(
                widths[number - 1], widths[number], 3, padding=1, batch_norm=batch_norm
            )
            if number in POOLED:
                layers[f"pool{number}"] = nn.MaxPool2d(2)

        def neck(n_flat: int) -> OrderedDict[str, nn.Module]:
            return OrderedDict(
                fc6=nn.Linear(n_flat, hidden),
                relu6=nn.ReLU(inplace=True),
                drop6=nn.Dropout(dropout),
                fc7=nn.Linear(hidden, feature_dim),
            )

        super().__init__(
            layers, neck, feature_dim=feature_dim, in_channels=in_channels, image_size=image_size, sobel=sobel
        )
        he_fan_out(self)
