"""What a stage answers: every backbone can be climbed, the convolution stands in for a silent ReLU, clear errors."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from deepcluster.models.alexnet import AlexNet, SmallAlexNet
from deepcluster.models.backbone import Backbone
from deepcluster.models.coates import Coates, PatchCode
from deepcluster.models.lenet import LeNet5
from deepcluster.models.resnet import resnet
from deepcluster.models.timm_model import timm_backbone
from deepcluster.models.vgg import VGG16
from deepcluster.visualization.response import (
    Response,
    choose_channels,
    choose_stages,
    climbable,
    responses,
    stage_shape,
)

SMALL = (4, 4, 4, 4, 4)


def learned_coates() -> Backbone:
    net = Coates(2, 16, n_filters=8, layers=2)
    assert net.second is not None
    for code in (net.code, *net.second.codes):
        assert isinstance(code, PatchCode)
        code.centroids.normal_(generator=torch.Generator().manual_seed(1))
    return net


BACKBONES: dict[str, Callable[[], Backbone]] = {
    "lenet grey": lambda: LeNet5(1, 16),
    "lenet two channels, Sobel": lambda: LeNet5(2, 16, batch_norm=True, sobel=True),
    "small AlexNet colours, Sobel": lambda: SmallAlexNet(3, 16, channels=SMALL, hidden=8, feature_dim=8),
    "AlexNet": lambda: AlexNet(3, 63, channels=SMALL, hidden=8, feature_dim=8),
    "VGG-16": lambda: VGG16(1, 32, channels=(4,) * 13, hidden=8, feature_dim=8, sobel=False),
    "ResNet-18": lambda: resnet("resnet18", 2, 32),
    "Coates": learned_coates,
    "timm": lambda: timm_backbone("resnet10t", 3, 32),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_every_stage_of_every_backbone_can_be_climbed(name: str) -> None:
    if name == "timm":
        pytest.importorskip("timm")
    torch.manual_seed(0)
    net = BACKBONES[name]().eval().requires_grad_(False)
    for stage in net.stages:
        images = torch.randn(2, net.in_channels, net.image_size, net.image_size, requires_grad=True)
        channels = torch.tensor([0, 1])
        objective = climbable(responses(net, stage, images), channels).log_softmax(1).gather(1, channels[:, None]).sum()
        (gradient,) = torch.autograd.grad(objective, images)
        length = gradient.flatten(1).norm(dim=1)
        assert bool(torch.isfinite(length).all()) and bool((length > 0).all()), (stage, length)


def test_the_answer_before_is_taken_before_a_relu_that_works_in_place() -> None:
    torch.manual_seed(0)
    for batch_norm in (False, True):
        net = LeNet5(1, 16, batch_norm=batch_norm).eval()
        if batch_norm:
            net.features.conv2[1].weight.data[::2] *= -1.0
        images = torch.randn(3, 1, 16, 16)
        maps = net.features.conv2[0](net.features.pool1(net.features.conv1(images)))
        for normalised in (False, True):
            found = responses(net, "conv2", images, normalised=normalised)
            expected = net.features.conv2[1](maps.clone()) if batch_norm and normalised else maps
            assert found.before is not None
            assert torch.allclose(found.before, expected.mean(dim=(2, 3)), atol=1e-6)
            assert torch.allclose(found.after, net.stage(images, "conv2").mean(dim=(2, 3)))
            assert bool((found.before < 0).any())


def test_of_a_resnets_stage_it_is_before_the_last_blocks_shortcut() -> None:
    torch.manual_seed(0)
    net = resnet("resnet18", 1, 32).eval()
    kept: list[torch.Tensor] = []
    net.features.layer2[1].bn2.register_forward_hook(lambda m, i, o: kept.append(o.mean(dim=(2, 3))))
    before = responses(net, "layer2", torch.randn(2, 1, 32, 32)).before
    assert before is not None and torch.equal(before, kept[0])


def test_only_an_image_whose_own_channel_is_silent_climbs_what_is_before_relu() -> None:
    after = torch.tensor([[0.0, 2.0], [0.0, 2.0]])
    before = torch.tensor([[-5.0, 3.0], [-6.0, 4.0]])
    chosen = climbable(Response(after, before), torch.tensor([0, 1]))
    assert chosen.tolist() == [[-5.0, 3.0], [0.0, 2.0]]


def test_hooks_are_gone_afterwards() -> None:
    net = LeNet5(1, 16).eval()
    responses(net, "conv1", torch.zeros(1, 1, 16, 16))
    assert not any(module._forward_hooks for module in net.modules() if isinstance(module, nn.Conv2d))


def test_what_there_is_not_is_told_with_what_there_is() -> None:
    net = LeNet5(1, 16).eval()

    def stages(stage: str | None) -> list[str]:
        return [one.name for one in choose_stages(net, stage, channels=None, first=None, size=16)]

    assert stages(None) == ["conv2"] and stages("all") == ["conv1", "conv2"]
    with pytest.raises(ValueError, match=r"evaluation.stage=conv9: .*no such stage; it has conv1, conv2, or all"):
        stages("conv9")
    assert choose_channels(None, 3, "conv1") == [0, 1, 2] and choose_channels([2, 0, 2], 3, "conv1") == [2, 0]
    assert choose_channels(None, 9, "conv1", 2) == [0, 1] and choose_channels([5, 4], 9, "conv1", 1) == [5]
    with pytest.raises(
        ValueError, match=r"evaluation.channels=\[1, 6\]: stage conv1 has the 6 channels 0 to 5, and no 6"
    ):
        choose_channels([1, 6], 6, "conv1")


def test_a_size_that_is_too_small_is_told_with_the_least() -> None:
    net = LeNet5(1, 16).eval()
    assert stage_shape(net, "conv2", 14) == (16, 1, 1)  # 14 - 4, halved, - 4
    with pytest.raises(ValueError, match=r"evaluation.size=13 is too small for stage conv2.*set it to 14 or more"):
        stage_shape(net, "conv2", 13)
