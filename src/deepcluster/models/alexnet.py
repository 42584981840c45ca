"""The small AlexNet of "A Deep Dive into Deep Cluster", for 32x32 images. Next: resnet.py, timm_model.py."""

import math
from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from deepcluster.models.backbone import Backbone, map_shape
from deepcluster.models.init import he_fan_out

PADDING = (2, 2, 1, 1, 1)  # the paper's; all convolutions are 3x3 with stride 1


class SmallAlexNet(Backbone):
    """Five 3x3 convolutions and two linear layers; the second linear layer's output is the features.

    At 32x32: 48x34x34, pooled 17; 126x19x19, pooled 9; 192, 192, 128 x9x9, pooled 128x4x4 = 2048.

    Args:
        in_channels: channels of the images.
        image_size: height and width of the images.
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
        if len(channels) != 5:
            raise ValueError(f"arch.channels must name 5 convolutions for SmallAlexNet, got {list(channels)}")
        if not 0 <= dropout < 1:
            raise ValueError(f"arch.dropout must be at least 0 and below 1, got {dropout}")
        first = 2 if sobel else in_channels
        widths = [first, *channels]
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number, padding in enumerate(PADDING, start=1):
            layers[f"conv{number}"] = _stage(widths[number - 1], widths[number], padding, batch_norm)
            if number in (1, 2):
                layers[f"pool{number}"] = nn.MaxPool2d(2)
            elif number == 5:
                layers["pool5"] = nn.MaxPool2d(3, stride=2)
        features = nn.Sequential(layers)
        n_flat = math.prod(map_shape(features, first, image_size))
        neck = nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),
                drop1=nn.Dropout(dropout),
                fc1=nn.Linear(n_flat, hidden),
                relu1=nn.ReLU(inplace=True),
                drop2=nn.Dropout(dropout),
                fc2=nn.Linear(hidden, feature_dim),
            )
        )
        super().__init__(
            features=features,
            neck=neck,
            feature_dim=feature_dim,
            stages=[name for name in layers if name.startswith("conv")],
            in_channels=in_channels,
            image_size=image_size,
            sobel=sobel,
        )
        he_fan_out(self)


def _stage(n_in: int, n_out: int, padding: int, batch_norm: bool) -> nn.Sequential:
    # In front of BatchNorm a bias changes nothing; the original's convolutions have one all the same.
    layers: list[nn.Module] = [nn.Conv2d(n_in, n_out, kernel_size=3, padding=padding)]
    if batch_norm:
        layers.append(nn.BatchNorm2d(n_out))
    return nn.Sequential(*layers, nn.ReLU(inplace=True))
