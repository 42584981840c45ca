"""The AlexNets: the paper's against a plain twin of 2018, the small one counted from its paper's numbers."""

import math

import pytest
import torch
from reference.networks_2018 import alexnet_2018, copy_in_order, stir
from torch import nn

from deepcluster.models.alexnet import AlexNet, SmallAlexNet
from deepcluster.models.head import ClusterHead


@pytest.fixture(scope="module")
def paper() -> AlexNet:
    """The network of the paper in full, which takes seconds to draw."""
    torch.manual_seed(0)
    return AlexNet().eval()


@pytest.mark.parametrize(("sobel", "batch_norm"), [(True, True), (False, True), (True, False)])
def test_features_stages_and_gradients_are_those_of_the_2018_network(sobel, batch_norm):
    torch.manual_seed(0)
    twin = alexnet_2018(sobel, batch_norm, out=7, hidden=64)
    stir(twin, seed=1)
    net = AlexNet(3, hidden=64, feature_dim=64, batch_norm=batch_norm, sobel=sobel)
    assert copy_in_order(twin, net) == (12 if batch_norm else 7)
    images = torch.randn(2, 3, 224, 224)
    net.eval(), twin.eval()
    with torch.no_grad():
        torch.testing.assert_close(net(images), twin.clustered(images))
        assert (net(images) < 0).any()  # before the ReLU
        for number, name in enumerate(["conv1", "conv2", "conv3", "conv4", "conv5"], start=1):
            torch.testing.assert_close(net.stage(images, name), twin.after_relu(images, number))
        head = ClusterHead(64, 7)
        head.linear.load_state_dict(twin.top_layer.state_dict())
        torch.testing.assert_close(head(net(images)), twin(images))
    # In training the same seed drops the same units only where the layers of dropout stand in the same places.
    # In float64: rounded on either side of a ReLU or of a pooling's maximum, float32's gradients jump.
    net.double().train(), twin.double().train()
    torch.manual_seed(2)
    features = net(images.double())
    torch.manual_seed(2)
    expected = twin.clustered(images.double())
    torch.testing.assert_close(features, expected, rtol=1e-6, atol=1e-9)
    features.square().sum().backward(), expected.square().sum().backward()
    ours, theirs = net.features.conv1[0].weight.grad, twin.features[0].weight.grad
    assert (ours - theirs).norm() < 1e-6 * theirs.norm()


def test_parameters_add_up_to_the_papers_layers(paper):
    convolutions = 121 * 2 * 96 + 25 * 96 * 256 + 9 * (256 * 384 + 384 * 384 + 384 * 256)
    widths = 96 + 256 + 384 + 384 + 256
    linear = (9216 * 4096 + 4096) + (4096 * 4096 + 4096)
    assert sum(p.numel() for p in paper.parameters()) == convolutions + widths + 2 * widths + linear == 58_272_480


def test_stage_sizes_at_224_are_the_papers(paper):
    x = torch.zeros(1, 3, 224, 224)
    sizes = {name: tuple(paper.stage(x, name).shape[1:]) for name in paper.stages}
    assert sizes == {
        "conv1": (96, 55, 55),
        "conv2": (256, 27, 27),
        "conv3": (384, 13, 13),
        "conv4": (384, 13, 13),
        "conv5": (256, 13, 13),
    }
    assert paper.convolutional(x).shape == (1, 256 * 6 * 6) and paper.feature_dim == 4096


def test_the_papers_weights_start_by_the_2018_law(paper):
    for number, fan_out in ((1, 121 * 96), (2, 25 * 256), (3, 9 * 384), (4, 9 * 384), (5, 9 * 256)):
        conv = getattr(paper.features, f"conv{number}")[0]
        std = float(conv.weight.detach().std())
        assert math.isclose(std, math.sqrt(2 / fan_out), rel_tol=0.03 if number == 1 else 0.005)
        assert abs(float(conv.weight.detach().mean())) < 4 * std / math.sqrt(conv.weight.numel())
        assert not conv.bias.any()
    for layer in (paper.neck.fc6, paper.neck.fc7):
        assert math.isclose(float(layer.weight.detach().std()), 0.01, rel_tol=1e-3) and not layer.bias.any()


def test_the_deep_dives_network_for_224_is_the_same_with_other_numbers():
    net = AlexNet(3, channels=[64, 192, 384, 256, 256], hidden=2048, feature_dim=2048)
    convolutions = 121 * 2 * 64 + 25 * 64 * 192 + 9 * (192 * 384 + 384 * 256 + 256 * 256)
    widths = 64 + 192 + 384 + 256 + 256
    linear = (9216 * 2048 + 2048) + (2048 * 2048 + 2048)
    assert sum(p.numel() for p in net.parameters()) == convolutions + 3 * widths + linear == 25_537_024


def test_the_papers_network_takes_other_sizes_down_to_63():
    # Backwards from one pixel after pool5: 3, before pool2 7, before pool1 15, and 4 x 14 + 11 - 2 x 2 = 63.
    narrow = {"channels": [2, 2, 2, 2, 2], "hidden": 3, "feature_dim": 3}
    for size, side in ((63, 1), (127, 3), (128, 3), (224, 6)):
        net = AlexNet(3, image_size=size, **narrow).eval()
        assert net.neck.fc6.in_features == 2 * side * side
        assert net(torch.zeros(1, 3, size, size)).shape == (1, 3)
    for size in (32, 62):
        with pytest.raises(
            ValueError, match=rf"view.size={size} is too small .* at least 63; set view.size=63 or more"
        ):
            AlexNet(3, image_size=size, **narrow)


def test_the_small_networks_parameters_add_up_to_the_papers_layers():
    convolutions = 9 * (2 * 48 + 48 * 126 + 126 * 192 + 192 * 192 + 192 * 128)
    widths = 48 + 126 + 192 + 192 + 128
    linear = 2 * (2048 * 2048 + 2048)
    net = SmallAlexNet(3)
    n_parameters = sum(p.numel() for p in net.parameters())
    assert n_parameters == convolutions + widths + 2 * widths + linear == 9_220_746
    head = sum(p.numel() for p in ClusterHead(2048, 1000).parameters())
    assert round((n_parameters + head) / 1e6, 1) == 11.3  # worked out by hand


def test_the_small_networks_stage_sizes_and_multiplications_are_those_of_the_measured_network():
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
    assert round(macs / 1e6, 1) == 93.5  # worked out by hand, with K = 1000


def test_the_small_networks_features_are_those_of_the_layers_written_out():
    torch.manual_seed(0)

    def conv(n_in, n_out, padding):
        return nn.Conv2d(n_in, n_out, 3, padding=padding), nn.BatchNorm2d(n_out), nn.ReLU()

    twin = nn.Sequential(
        *(*conv(3, 6, 2), nn.MaxPool2d(2)),
        *(*conv(6, 8, 2), nn.MaxPool2d(2)),
        *(*conv(8, 9, 1), *conv(9, 10, 1), *conv(10, 12, 1), nn.MaxPool2d(3, stride=2)),
        *(nn.Flatten(), nn.Dropout(0.5), nn.Linear(12 * 4 * 4, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 32)),
    )
    net = SmallAlexNet(3, channels=[6, 8, 9, 10, 12], hidden=64, feature_dim=32, sobel=False)
    copy_in_order(twin, net)
    images = torch.randn(8, 3, 32, 32)
    torch.manual_seed(1)
    expected = twin(images)  # in training: the same seed drops the same units only from the same places
    torch.manual_seed(1)
    torch.testing.assert_close(net(images), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net.eval()(images), twin.eval()(images))


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
    with pytest.raises(ValueError, match=r"arch.channels must name 5 convolutions for AlexNet.*got \[1, 2, 3, 4, 0\]"):
        AlexNet(3, channels=[1, 2, 3, 4, 0])
    for network in (AlexNet, SmallAlexNet):
        with pytest.raises(ValueError, match=r"arch.dropout must be .* got 1.0"):
            network(3, dropout=1.0)
    with pytest.raises(ValueError, match=r"view.size=4 is too small .* at least 6;"):
        SmallAlexNet(3, image_size=4)
