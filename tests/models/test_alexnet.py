"""The small AlexNet: counted from the paper's numbers."""

import math

import pytest
import torch
from torch import nn

from deepcluster.models.alexnet import SmallAlexNet
from deepcluster.models.head import ClusterHead


def test_parameters_add_up_to_the_papers_layers():
    convolutions = 9 * (2 * 48 + 48 * 126 + 126 * 192 + 192 * 192 + 192 * 128)
    widths = 48 + 126 + 192 + 192 + 128
    linear = 2 * (2048 * 2048 + 2048)
    net = SmallAlexNet(3)
    n_parameters = sum(p.numel() for p in net.parameters())
    assert n_parameters == convolutions + widths + 2 * widths + linear == 9_220_746
    head = sum(p.numel() for p in ClusterHead(2048, 1000).parameters())
    assert round((n_parameters + head) / 1e6, 1) == 11.3  # SPEED.md 0b


def test_stage_sizes_and_multiplications_are_those_of_the_measured_network():
    net = SmallAlexNet(3).eval()
    x = torch.zeros(1, 3, 32, 32)
    sizes = {name: tuple(net.stage(x, name).shape[1:]) for name in net.stages}
    assert sizes == {
        "conv1": (48, 34, 34),
        "conv2": (126, 19, 19),
        "conv3": (192, 9, 9),
        "conv4": (192, 9, 9),
        "conv5": (128, 9, 9),
    }
    assert net.convolutional(x).shape == (1, 128 * 4 * 4)
    macs = 2048 * 2048 * 2 + 2048 * 1000
    for name, (_, height, width) in sizes.items():
        macs += net.features.get_submodule(name)[0].weight.numel() * height * width
    assert round(macs / 1e6, 1) == 93.5  # SPEED.md 0b: 93.5 MMAC with K = 1000


def test_another_image_size_and_no_sobel_are_computed():
    net = SmallAlexNet(1, image_size=64, feature_dim=10, hidden=20, sobel=False, batch_norm=False).eval()
    assert net.features.conv1[0].in_channels == 1
    assert net.neck.fc1.in_features == 128 * 8 * 8  # 66, 33, 35, 17, then (17 - 3) // 2 + 1
    assert net(torch.zeros(2, 1, 64, 64)).shape == (2, 10)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())


def test_weights_start_by_the_2018_law():
    torch.manual_seed(0)
    net = SmallAlexNet(3)
    assert math.isclose(float(net.features.conv4[0].weight.detach().std()), math.sqrt(2 / (9 * 192)), rel_tol=0.01)
    assert math.isclose(float(net.neck.fc1.weight.detach().std()), 0.01, rel_tol=0.01)
    assert not net.neck.fc1.bias.any()


def test_wrong_values_are_refused_with_the_key():
    with pytest.raises(ValueError, match=r"arch.channels must name 5 convolutions"):
        SmallAlexNet(3, channels=[1, 2])
    with pytest.raises(ValueError, match=r"arch.dropout"):
        SmallAlexNet(3, dropout=1.0)
    with pytest.raises(ValueError, match=r"data.size=4 is too small"):
        SmallAlexNet(3, image_size=4)
