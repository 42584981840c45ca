"""ResNets: torchvision's own network without its classifier, and a stem for small images."""

import pytest
import torch
from torchvision import models

from deepcluster.models.resnet import resnet


def test_features_are_what_torchvisions_classifier_reads():
    torch.manual_seed(0)
    ours = resnet("resnet18", 3, 96).eval()
    torch.manual_seed(0)
    theirs = models.resnet18().eval()
    read: list[torch.Tensor] = []
    theirs.fc.register_forward_pre_hook(lambda module, args: read.append(args[0]))
    images = torch.randn(2, 3, 96, 96)
    theirs(images)
    assert torch.equal(ours(images), read[0])
    assert sum(p.numel() for p in ours.parameters()) == 11_689_512 - 513_000  # without the 1000 classes


def test_small_images_keep_their_size_up_to_the_second_layer():
    small = resnet("resnet18", 1, 32).eval()
    x = torch.zeros(1, 1, 32, 32)
    sizes = [small.stage(x, name).shape[-1] for name in small.stages]
    assert small.stages == ["conv1", "layer1", "layer2", "layer3", "layer4"] and sizes == [32, 32, 16, 8, 4]
    usual = resnet("resnet18", 1, 32, small_images=False).eval()
    assert [usual.stage(x, name).shape[-1] for name in usual.stages] == [16, 8, 4, 2, 1]


def test_sobel_and_bottlenecks():
    net = resnet("resnet50", 3, 32, sobel=True).eval()
    assert net.features.conv1[0].in_channels == 2
    assert net(torch.zeros(1, 3, 32, 32)).shape == (1, net.feature_dim) == (1, 2048)
    assert net.convolutional(torch.zeros(1, 3, 32, 32)).shape == (1, 2048 * 2 * 2)  # 4x4 would be 32,768


def test_wrong_values_are_refused_with_the_key():
    with pytest.raises(ValueError, match=r"arch.name=vgg16 is no ResNet.*resnet18"):
        resnet("vgg16")
    with pytest.raises(ValueError, match=r"arch.weights=IMAGENET1K_V1 belongs to the usual stem"):
        resnet("resnet18", 3, 32, weights="IMAGENET1K_V1")
