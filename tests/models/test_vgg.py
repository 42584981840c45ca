"""VGG-16: against a plain twin of 2018, and counted from the paper's numbers."""

import math

import pytest
import torch
from reference.networks_2018 import copy_in_order, stir, vgg16_2018
from torch import nn

from deepcluster.models.head import ClusterHead
from deepcluster.models.vgg import VGG16

NARROW = [8, 8, 16, 16, 32, 32, 32, 64, 64, 64, 64, 64, 64]  # an eighth of the paper's


@pytest.mark.parametrize(("sobel", "batch_norm"), [(True, True), (False, True), (True, False)])
def test_features_stages_and_gradients_are_those_of_the_2018_network(sobel, batch_norm):
    torch.manual_seed(0)
    twin = vgg16_2018(sobel, batch_norm, out=5, narrow=8, hidden=32, side=2)
    stir(twin, seed=1)
    net = VGG16(3, 64, NARROW, hidden=32, feature_dim=32, batch_norm=batch_norm, sobel=sobel)
    assert copy_in_order(twin, net) == (28 if batch_norm else 15)
    images = torch.randn(3, 3, 64, 64)
    net.eval(), twin.eval()
    with torch.no_grad():
        torch.testing.assert_close(net(images), twin.clustered(images))
        assert (net(images) < 0).any()  # before the ReLU
        assert net.stages == [f"conv{number}" for number in range(1, 14)]
        for number, name in enumerate(net.stages, start=1):
            torch.testing.assert_close(net.stage(images, name), twin.after_relu(images, number))
        head = ClusterHead(32, 5)
        head.linear.load_state_dict(twin.top_layer.state_dict())
        torch.testing.assert_close(head(net(images)), twin(images))
    # In training the same seed drops the same units only where dropout stands in the same place: after fc6 alone.
    # In float64: where float32 rounds a unit to the other side of its ReLU, or another pixel becomes the maximum of
    # its pooling, gradients jump by percents, and processors round differently.
    net.double().train(), twin.double().train()
    torch.manual_seed(2)
    features = net(images.double())
    torch.manual_seed(2)
    expected = twin.clustered(images.double())
    torch.testing.assert_close(features, expected, rtol=1e-6, atol=1e-9)
    features.square().sum().backward(), expected.square().sum().backward()
    ours, theirs = net.features.conv1[0].weight.grad, twin.features[0].weight.grad
    assert (ours - theirs).norm() < 1e-6 * theirs.norm()


def test_poolings_follow_the_second_fourth_seventh_tenth_and_last_convolution():
    net = VGG16(3, 32, NARROW, hidden=4, feature_dim=4)
    names = [name for name, _ in net.features.named_children()]
    expected = [f"conv{number}" for number in range(1, 14)]
    for number in (13, 10, 7, 4, 2):
        expected.insert(number, f"pool{number}")
    assert names == expected
    assert [name for name, _ in net.neck.named_children()] == ["flatten", "fc6", "relu6", "drop6", "fc7"]


@pytest.mark.slow  # 134 million weights are drawn, and 15 GMAC computed to find the sizes
def test_parameters_add_up_to_the_papers_layers():
    torch.manual_seed(0)
    net = VGG16()
    pairs = [(2, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256)]
    pairs += [(256, 512), *[(512, 512)] * 5]
    convolutions = sum(9 * n_in * n_out + n_out for n_in, n_out in pairs)
    batch_norm = 2 * sum(n_out for _, n_out in pairs)
    linear = (512 * 7 * 7 * 4096 + 4096) + (4096 * 4096 + 4096)
    assert sum(p.numel() for p in net.parameters()) == convolutions + batch_norm + linear == 134_268_416
    assert net.neck.fc6.in_features == 25_088 and net.feature_dim == 4096
    assert math.isclose(float(net.neck.fc6.weight.detach().std()), 0.01, rel_tol=1e-3)


def test_weights_start_by_the_2018_law():
    torch.manual_seed(0)
    net = VGG16(3, 32, hidden=8, feature_dim=8)
    for number, width in ((2, 64), (4, 128), (7, 256), (13, 512)):
        conv = getattr(net.features, f"conv{number}")[0]
        assert math.isclose(float(conv.weight.detach().std()), math.sqrt(2 / (9 * width)), rel_tol=0.02)
        assert not conv.bias.any()
    assert all((norm.weight == 1).all() for norm in net.modules() if isinstance(norm, nn.BatchNorm2d))


def test_images_are_halved_five_times_and_so_have_32_pixels_or_more():
    for size, side in ((32, 1), (63, 1), (64, 2), (100, 3)):
        assert VGG16(1, size, NARROW, 4, 4).neck.fc6.in_features == 64 * side * side
    with pytest.raises(ValueError, match=r"view.size=31 is too small .* at least 32; set view.size=32 or more"):
        VGG16(1, 31, NARROW, 4, 4)


def test_wrong_values_are_refused_with_the_key():
    with pytest.raises(ValueError, match=r"arch.channels must name 13 convolutions for VGG16"):
        VGG16(3, channels=[64, 128, 256, 512, 512])
    with pytest.raises(ValueError, match=r"arch.dropout must be .* got -0.1"):
        VGG16(3, dropout=-0.1)
