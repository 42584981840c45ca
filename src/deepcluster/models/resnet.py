"""torchvision's ResNets as backbones, with a stem for small images. Next: timm_model.py."""

from collections import OrderedDict

from torch import nn
from torchvision import models

from deepcluster.models.backbone import Backbone, map_shape

PACKAGE = "torchvision.models.resnet"
TAPS = ("layer1", "layer2", "layer3", "layer4")
SMALL_IMAGE = 64  # pixels; up to here the usual stem, which divides height and width by 4, leaves too little


def resnet(
    name: str = "resnet18",
    in_channels: int = 3,
    image_size: int = 224,
    tap: str = "layer4",
    small_images: bool | None = None,
    sobel: bool | str = False,
    weights: str | None = None,
) -> Backbone:
    """A ResNet without its classifier; the features are the averaged maps of one stage.

    They are taken after that stage's last ReLU, as in DeepCluster-v2 and for torchvision's classifier; the head's ReLU
    then changes nothing. They cannot be taken before it, as in AlexNet and VGG-16: a block applies its ReLU before the
    maps are averaged over places. Without it, filters that are positive in few places would have a negative average,
    and the head's ReLU would set them to 0.

    Args:
        name: resnet18, resnet50, wide_resnet50_2 ...: any of torchvision's.
        in_channels: channels of the images.
        image_size: height and width of the images.
        tap: the stage whose maps are averaged to the features, layer1 to layer4; D is its number of channels (64,
            128, 256, 512 in ResNet-18 and 34, four times as many in ResNet-50 and deeper). Later stages are left out.
        small_images: 3x3 stem with stride 1 and no pooling, for 64 pixels and fewer; None: by image_size.
        sobel: the network sees edges instead of colours.
        weights: name of torchvision's trained weights, such as IMAGENET1K_V1; downloaded if needed.

    Raises:
        ValueError: if an argument is unknown, or the trained weights do not fit the stem.
    """
    known = [n for n in models.list_models() if models.get_model_builder(n).__module__ == PACKAGE]
    if name not in known:
        raise ValueError(f"arch.name={name} is not a ResNet of torchvision; it has {', '.join(known)}")
    small = image_size <= SMALL_IMAGE if small_images is None else small_images
    first = 2 if sobel else in_channels
    if weights is not None and (small or first != 3):
        raise ValueError(
            f"arch.weights={weights} fit only the usual stem on 3 channels; "
            "set small_images=false, sobel=false and use colour images, or weights=null"
        )
    trained = [one.name for one in models.get_model_weights(name)]
    if weights not in (None, "DEFAULT", *trained):
        raise ValueError(
            f"arch.weights={weights} are not weights of torchvision's {name}; it has {', '.join(trained)}; "
            "to load a file, set init=weights init.path=FILE"
        )
    if tap not in TAPS:
        raise ValueError(f"arch.tap={tap} is not a stage of {name}; it has {', '.join(TAPS)}")
    net = models.get_model(name, weights=weights)
    width = net.conv1.out_channels
    if small:
        net.conv1 = _stem(first, width, kernel_size=3, stride=1)
    elif first != 3:
        net.conv1 = _stem(first, width, kernel_size=7, stride=2)
    stages = ["conv1", *TAPS[: TAPS.index(tap) + 1]]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv1"] = nn.Sequential(net.conv1, net.bn1, net.relu)
    if not small:
        layers["pool1"] = net.maxpool
    for stage in stages[1:]:
        layers[stage] = getattr(net, stage)
    features = nn.Sequential(layers)
    return Backbone(
        features=features,
        neck=nn.Sequential(OrderedDict(average=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten())),
        feature_dim=map_shape(features, first, image_size=32)[0],  # channels are the same at any size
        stages=stages,
        in_channels=in_channels,
        image_size=image_size,
        sobel=sobel,
    )


def _stem(n_in: int, n_out: int, kernel_size: int, stride: int) -> nn.Conv2d:
    conv = nn.Conv2d(n_in, n_out, kernel_size, stride=stride, padding=kernel_size // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")  # as in torchvision
    return conv
