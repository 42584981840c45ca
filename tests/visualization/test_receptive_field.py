"""Receptive fields: figures from the literature and by hand, and what a NaN in a row of pixels reaches."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from deepcluster.models.alexnet import AlexNet, SmallAlexNet
from deepcluster.models.backbone import Backbone
from deepcluster.models.coates import Coates
from deepcluster.models.lenet import LeNet5
from deepcluster.models.resnet import resnet
from deepcluster.models.timm_model import timm_backbone
from deepcluster.models.vgg import VGG16
from deepcluster.visualization.receptive_field import Span, receptive_field

SMALL = (4, 4, 4, 4, 4)


def test_figures_worked_out_by_hand() -> None:
    field = receptive_field(LeNet5(1, 32).eval(), "conv2", 32)
    assert field is not None
    assert field.rows == field.columns == Span(size=14, stride=2, start=0)  # 5, + 1 by the pool, + 4 x 2
    assert field.rows.at(3) == (6, 20)
    alexnet = AlexNet(3, 224, channels=SMALL, hidden=4, feature_dim=4, sobel=False).eval()
    field = receptive_field(alexnet, "conv5", 224)
    assert field is not None and (field.rows.size, field.rows.stride) == (163, 16)  # as published of AlexNet
    vgg = VGG16(3, 64, channels=(2,) * 13, hidden=4, feature_dim=4, sobel=False).eval()
    field = receptive_field(vgg, "conv13", 64)
    assert field is not None and (field.rows.size, field.rows.stride) == (196, 16)  # as published of VGG-16


def reached(net: Backbone, stage: str, size: int) -> tuple[Tensor, Tensor]:
    """(pixel rows, map rows) and (pixel columns, map columns): which a NaN in the one turns to NaN in the other."""
    images = torch.zeros(size, net.in_channels, size, size, dtype=torch.float64)
    images[torch.arange(size), :, torch.arange(size)] = torch.nan
    rows = net.stage(images, stage).isnan().any(dim=3).any(dim=1)
    columns = net.stage(images.mT, stage).isnan().any(dim=2).any(dim=1)
    return rows, columns


class Skewed(nn.Sequential):
    """Windows that differ between rows and columns, with dilation."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 2, (3, 5), stride=(1, 2), padding=(0, 3), dilation=(2, 1)),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Conv2d(2, 2, 3, padding="same"),
            nn.Conv2d(2, 2, (1, 3), padding="same"),
        )


def skewed() -> Backbone:
    features = nn.Sequential()
    features.add_module("conv1", Skewed())
    return Backbone(
        features=features,
        neck=nn.Sequential(),
        feature_dim=1,
        stages=["conv1"],
        in_channels=1,
        image_size=24,
        sobel=False,
    )


CASES: dict[str, tuple[Callable[[], Backbone], list[str], int]] = {
    "lenet": (lambda: LeNet5(1, 20), ["conv1", "conv2"], 20),
    "small AlexNet with Sobel": (
        lambda: SmallAlexNet(2, 32, channels=SMALL, hidden=4, feature_dim=4),
        ["conv1", "conv2", "conv3", "conv5"],
        32,
    ),
    "AlexNet with Sobel": (
        lambda: AlexNet(3, 80, channels=SMALL, hidden=4, feature_dim=4),
        ["conv1", "conv3"],
        80,
    ),
    "ResNet-18 for small images": (lambda: resnet("resnet18", 1, 20), ["layer1", "layer2"], 20),
    "ResNet-50": (lambda: resnet("resnet50", 1, 40, small_images=False), ["layer1"], 40),
    "timm's ResNet-D": (lambda: timm_backbone("resnet10t", 1, 48), ["layer2"], 48),
    "dilated, oblong": (skewed, ["conv1"], 24),
}


@pytest.mark.parametrize("name", CASES)
def test_the_field_is_what_a_place_depends_on(name: str) -> None:
    make, stages, size = CASES[name]
    if name.startswith("timm"):
        pytest.importorskip("timm")
    torch.manual_seed(0)
    net = make().eval().requires_grad_(False)
    fields = [receptive_field(net, stage, size) for stage in stages]
    net.double()
    for stage, field in zip(stages, fields, strict=True):
        assert field is not None, stage
        for span, touched in zip(field, reached(net, stage, size), strict=True):
            for place in range(touched.shape[1]):
                first, end = span.at(place)
                expected = torch.zeros(size, dtype=torch.bool)
                expected[max(0, first) : max(0, end)] = True
                assert torch.equal(touched[:, place], expected), (stage, place)


def test_patches_of_coates_are_the_field() -> None:
    net = Coates(1, 12, n_filters=4, patch_size=5)
    net.code.centroids.normal_()
    field = receptive_field(net.eval(), "conv1", 12)
    assert field is not None and field.rows == Span(size=5, stride=1, start=0)
    two = Coates(1, 14, n_filters=6, patch_size=5, layers=2, n_groups=2, group_size=4)
    for code in (two.code, *two.second.codes):
        code.centroids.normal_()
    field = receptive_field(two.eval(), "conv2", 14)
    assert field is not None and field.columns == Span(size=5 + 5, stride=3, start=0)


def test_there_is_no_field_where_everything_is_seen() -> None:
    pytest.importorskip("timm")
    torch.manual_seed(0)
    net = timm_backbone("vit_tiny_patch16_224", 3, 64).eval()
    assert receptive_field(net, net.stages[-1], 64) is None
