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


@pytest.mark.parametrize(("name", "dims"), [("resnet18", (64, 128, 256, 512)), ("resnet50", (256, 512, 1024, 2048))])
def test_tapped_features_are_the_averaged_maps_of_torchvisions_stage(name, dims):
    torch.manual_seed(0)
    theirs = models.get_model(name).eval()
    maps: dict[str, torch.Tensor] = {}
    for number in range(1, 5):
        tap = f"layer{number}"
        getattr(theirs, tap).register_forward_hook(lambda module, args, out, tap=tap: maps.update({tap: out}))
    images = torch.randn(2, 3, 96, 96)
    theirs(images)
    for number, dim in enumerate(dims, start=1):
        tap = f"layer{number}"
        torch.manual_seed(0)  # the same weights whatever the tap
        ours = resnet(name, 3, 96, tap=tap).eval()
        assert (
            ours.feature_dim == dim and ours.stages == ["conv1", "layer1", "layer2", "layer3", "layer4"][: number + 1]
        )
        torch.testing.assert_close(ours(images), maps[tap].sum((2, 3)) / maps[tap][0, 0].numel())
        assert torch.equal(ours.stage(images, tap), maps[tap])
        assert maps[tap].min() == 0 and (ours(images) >= 0).all()  # after the ReLU: the head's changes nothing


def test_stages_behind_the_tap_are_left_out():
    ours = resnet("resnet18", 3, 96, tap="layer2")
    stem = 64 * 3 * 49 + 2 * 64
    layer1 = 4 * (9 * 64 * 64) + 4 * 2 * 64
    layer2 = 9 * 64 * 128 + 3 * (9 * 128 * 128) + 64 * 128 + 5 * 2 * 128  # with the shortcut's 1x1
    assert sum(p.numel() for p in ours.parameters()) == stem + layer1 + layer2 == 683_072
    with pytest.raises(ValueError, match=r"no stage 'layer3'; it has conv1, layer1, layer2$"):
        ours.stage(torch.zeros(1, 3, 96, 96), "layer3")


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
    with pytest.raises(ValueError, match=r"arch.name=vgg16 is not a ResNet.*resnet18"):
        resnet("vgg16")
    with pytest.raises(ValueError, match=r"arch.weights=IMAGENET1K_V1 fit only the usual stem"):
        resnet("resnet18", 3, 32, weights="IMAGENET1K_V1")
    with pytest.raises(ValueError, match=r"arch.tap=layer5 .* of resnet18; it has layer1, layer2, layer3, layer4"):
        resnet("resnet18", 3, 32, tap="layer5")


def test_unknown_weights_are_refused_with_those_that_exist():
    with pytest.raises(ValueError, match=r"arch.weights=imagenet .* resnet50; it has IMAGENET1K_V1, IMAGENET1K_V2; "):
        resnet("resnet50", weights="imagenet")
