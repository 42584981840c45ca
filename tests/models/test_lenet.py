"""LeNet-5: counted from the paper's numbers."""

import math

import pytest
import torch
from reference.networks_2018 import copy_in_order
from torch import nn

from deepcluster.models.lenet import LeNet5


def n_parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_parameters_add_up_to_the_papers_layers():
    convolutions = (25 * 1 * 6 + 6) + (25 * 6 * 16 + 16)
    linear = (16 * 5 * 5 * 120 + 120) + (120 * 84 + 84)
    assert n_parameters(LeNet5(1)) == convolutions + linear == 60_856
    assert n_parameters(LeNet5(1, batch_norm=True)) == 60_856 + 2 * (6 + 16)
    assert n_parameters(LeNet5(1, sobel=True)) == 60_856 + 25 * 6  # a second input channel


def test_stage_sizes_are_the_papers():
    net = LeNet5(1)
    x = torch.zeros(2, 1, 32, 32)
    assert net.stage(x, "conv1").shape == (2, 6, 28, 28)
    assert net.stage(x, "conv2").shape == (2, 16, 10, 10)
    assert net.convolutional(x).shape == (2, 16 * 5 * 5)  # what the paper's probe reads
    assert net(x).shape == (2, net.feature_dim) == (2, 84)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_features_are_those_of_the_layers_written_out(batch_norm):
    torch.manual_seed(0)
    norms = [nn.BatchNorm2d(n) if batch_norm else nn.Identity() for n in (6, 16)]
    twin = nn.Sequential(
        *(nn.Conv2d(1, 6, 5), norms[0], nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), norms[1], nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84)),
    )
    net = LeNet5(1, batch_norm=batch_norm)
    copy_in_order(twin, net)
    images = torch.randn(8, 1, 32, 32)
    torch.testing.assert_close(net(images), twin(images))


def test_another_image_size_is_computed():
    net = LeNet5(3, image_size=28)
    assert net.neck.fc1.in_features == 16 * 4 * 4
    assert net(torch.zeros(1, 3, 28, 28)).shape == (1, 84)


def test_too_small_images_are_refused_when_the_network_is_built():
    with pytest.raises(ValueError, match=r"view.size=8 is too small"):
        LeNet5(1, image_size=8)
    with pytest.raises(ValueError, match=r"arch.channels must name 2"):
        LeNet5(1, channels=[6])


def test_convolutions_start_by_the_2018_law_and_linear_layers_wide_enough_to_learn():
    torch.manual_seed(0)
    net = LeNet5(1)
    conv = net.features.conv2[0]
    assert math.isclose(float(conv.weight.std()), math.sqrt(2 / (25 * 16)), rel_tol=0.05)
    assert float(conv.bias.abs().max()) == 0
    # torch's law: uniform within 1 / sqrt(inputs), std 1 / sqrt(3 x inputs)
    assert math.isclose(float(net.neck.fc1.weight.std()), 1 / math.sqrt(3 * 400), rel_tol=0.05)
