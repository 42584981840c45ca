"""The fast copy: BatchNorm folded, lower precision, the same answers, the original untouched."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from deepcluster.features.inference import fold_batch_norm, inference_copy
from deepcluster.models.alexnet import AlexNet, SmallAlexNet
from deepcluster.models.backbone import Backbone
from deepcluster.models.lenet import LeNet5
from deepcluster.models.resnet import resnet
from deepcluster.models.timm_model import timm_backbone
from deepcluster.models.vgg import VGG16

NARROW_VGG = [8, 8, 16, 16, 32, 32, 32, 64, 64, 64, 64, 64, 64]
NETWORKS: dict[str, tuple[Callable[[], Backbone], int, int, bool]] = {  # builder, channels, size, all folded
    "lenet": (lambda: LeNet5(1, batch_norm=True), 1, 32, True),
    "lenet_sobel": (lambda: LeNet5(3, sobel=True), 3, 32, True),
    "alexnet": (lambda: SmallAlexNet(3, feature_dim=64, hidden=64), 3, 32, True),
    "alexnet_paper": (lambda: AlexNet(3, 128, feature_dim=64, hidden=64), 3, 128, True),
    "vgg16": (lambda: VGG16(3, 64, NARROW_VGG, feature_dim=64, hidden=64), 3, 64, True),
    "resnet18_layer2": (lambda: resnet("resnet18", 3, 96, tap="layer2"), 3, 96, True),
    "resnet50_layer3": (lambda: resnet("resnet50", 3, 96, tap="layer3"), 3, 96, True),
    "resnet18_small_stem": (lambda: resnet("resnet18", 3, 32), 3, 32, True),
    "resnet18_sobel": (lambda: resnet("resnet18", 3, 96, sobel=True), 3, 96, True),
    "resnet50": (lambda: resnet("resnet50", 1, 32), 1, 32, True),
    "timm_resnet18": (lambda: timm_backbone("resnet18", 3, 64), 3, 64, True),
    "timm_convnext": (lambda: timm_backbone("convnext_atto", 3, 64), 3, 64, True),
    "timm_mobilenet": (lambda: timm_backbone("mobilenetv3_small_050", 3, 64), 3, 64, False),
}


def test_synchronised_batch_norm_is_folded_too() -> None:
    backbone, images = trained("alexnet")
    synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(backbone))
    assert any(isinstance(module, nn.SyncBatchNorm) for module in synchronised.modules())
    folded = inference_copy(synchronised, channels_last=True)
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in folded.modules())
    torch.testing.assert_close(folded(images), inference_copy(backbone, channels_last=True)(images), atol=0, rtol=0)


def trained(name: str) -> tuple[Backbone, torch.Tensor]:
    """A network whose BatchNorm has seen images and moved its scales, and images to compare on."""
    build, channels, size, _ = NETWORKS[name]
    torch.manual_seed(0)
    backbone = build()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.2)
    with torch.no_grad():
        for _ in range(4):
            backbone(torch.randn(6, channels, size, size) * 2 + 1)
    return backbone, torch.randn(4, channels, size, size) * 2 + 1


def largest_error(got: torch.Tensor, wanted: torch.Tensor) -> float:
    """Largest difference as a share of the largest value: maps of deep networks reach 20 and more."""
    return float((got - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("name", NETWORKS)
def test_the_copy_answers_as_the_network_in_eval_mode(name):
    backbone, images = trained(name)
    with torch.no_grad():
        in_training = backbone(images)
        fast = inference_copy(backbone)
        backbone.eval()
        expected = backbone(images)
        assert largest_error(fast(images), expected) < 1e-5
        for stage in backbone.stages:
            assert largest_error(fast.stage(images, stage), backbone.stage(images, stage)) < 1e-5
        assert largest_error(fast.convolutional(images), backbone.convolutional(images)) < 1e-5
        if any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules()):
            assert largest_error(in_training, expected) > 1e-2  # eval is not training: the statistics count
    if NETWORKS[name][3]:
        assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())


@pytest.mark.parametrize("name", ["alexnet", "alexnet_paper", "vgg16", "resnet18_small_stem", "timm_mobilenet"])
def test_bfloat16_answers_in_float32_and_close_by(name):
    backbone, images = trained(name)
    fast = inference_copy(backbone, dtype=torch.bfloat16, channels_last=True)
    expected = backbone.eval()(images)
    for got, wanted in (
        (fast(images), expected),
        (fast.convolutional(images), backbone.convolutional(images)),
        (fast.stage(images, backbone.stages[0]), backbone.stage(images, backbone.stages[0])),
    ):
        assert got.dtype == torch.float32 and not got.requires_grad
        assert (got - wanted).norm() / wanted.norm() < 0.05  # bfloat16 keeps 8 bits: 0.4 % a rounding


def test_the_original_stays_as_it_is():
    backbone, images = trained("alexnet")
    before = copy.deepcopy(backbone.state_dict())
    fast = inference_copy(backbone, dtype=torch.bfloat16, channels_last=True)
    fast(images)
    assert backbone.training and backbone.compute_dtype is None
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    after = backbone.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert backbone.features.conv1[0].weight.is_contiguous()


def test_a_batch_norm_that_does_more_is_left_alone():
    class WithActivation(nn.BatchNorm2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).relu()

    network = nn.Sequential(nn.Conv2d(1, 2, 1), WithActivation(2), nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)).eval()
    x = torch.randn(2, 1, 3, 3)
    expected = network(x)
    assert fold_batch_norm(network) == 1
    torch.testing.assert_close(network(x), expected)


def test_another_type_is_refused():
    with pytest.raises(ValueError, match="float32 or bfloat16"):
        inference_copy(LeNet5(1), dtype=torch.float64)
