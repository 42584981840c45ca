"""A small VGG: blocks of 3x3 convolutions whose last maps are averaged to the features. Next: resnet.py."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from deepcluster.models.backbone import Backbone, map_shape
from deepcluster.models.stages import he_fan_out


class SmallVGG(Backbone):
    """Blocks of 3x3 convolutions with BatchNorm and ReLU, each followed by 2x2 max pooling; the features are averages.

    The design is VGG's (Simonyan and Zisserman 2015) without its linear layers, which at 32 px hold most of the
    weights of an AlexNet. The last block has no pooling: its maps are averaged over places. As for a ResNet
    (models/resnet.py) the features come after the last ReLU.

    Args:
        in_channels: channels of the images.
        image_size: height and width of the images.
        blocks: filters of each convolution, block by block.
        first_stride: stride of the first convolution; 2 for photographs, whose neighbouring pixels are alike.
        sobel: the network sees edges instead of colours.

    Raises:
        ValueError: if a block is empty, or the images are too small for the poolings.
    """

    def __init__(
        self,
        in_channels: int = 3,
        image_size: int = 32,
        blocks: Sequence[Sequence[int]] = ((32, 32), (64, 128), (256, 256)),
        first_stride: int = 1,
        sobel: bool | str = False,
    ) -> None:
        if not blocks or any(not len(block) or min(block) < 1 for block in blocks):
            raise ValueError(
                "arch.blocks must be lists of filters such as [[32,64],[128,128]], each with at least 1, "
                f"got {[list(block) for block in blocks]}"
            )
        if first_stride < 1:
            raise ValueError(f"arch.first_stride must be at least 1, got {first_stride}")
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        n_in = first = 2 if sobel else in_channels
        for number, block in enumerate(blocks, start=1):
            if number > 1:
                layers[f"pool{number - 1}"] = nn.MaxPool2d(2)
            for n_out in block:
                stride = 1 if layers else first_stride
                name = f"conv{1 + sum(one.startswith('conv') for one in layers)}"
                layers[name] = nn.Sequential(
                    nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False),
                    nn.BatchNorm2d(n_out),
                    nn.ReLU(inplace=True),
                )
                n_in = n_out
        features = nn.Sequential(layers)
        map_shape(features, first, image_size)  # refuses images that are too small
        super().__init__(
            features=features,
            neck=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            feature_dim=n_in,
            stages=[name for name in layers if name.startswith("conv")],
            in_channels=in_channels,
            image_size=image_size,
            sobel=sobel,
        )
        he_fan_out(self)
