"""What all backbones share: stages, the convolutional output, features before the ReLU."""

import pytest
import torch

from deepcluster.features.inference import inference_copy
from deepcluster.models.alexnet import SmallAlexNet
from deepcluster.models.backbone import pool_maps
from deepcluster.models.coates import Coates
from deepcluster.models.lenet import LeNet5
from deepcluster.models.resnet import resnet
from deepcluster.models.vgg import VGG16


def images(n: int, channels: int, size: int = 32) -> torch.Tensor:
    return torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(0))


def test_features_are_taken_before_the_last_relu():
    torch.manual_seed(0)
    for backbone in (LeNet5(1), SmallAlexNet(1, feature_dim=64, hidden=64)):
        features = backbone.eval()(images(8, 1))
        assert 0.2 < (features < 0).float().mean() < 0.8


def test_a_stage_is_what_the_network_computes_on_its_way():
    torch.manual_seed(0)
    backbone = SmallAlexNet(3, feature_dim=8, hidden=8).eval()
    x = images(2, 3)
    second = backbone.features.pool1(backbone.features.conv1(backbone.sobel(x)))
    second = backbone.features.conv2(second)
    assert torch.equal(backbone.stage(x, "conv2"), second)
    assert second.min() == 0  # after the ReLU
    fifth = backbone.stage(x, "conv5")
    assert torch.equal(backbone.convolutional(x), backbone.features.pool5(fifth).flatten(1))
    assert torch.equal(backbone(x), backbone.neck(backbone.features.pool5(fifth)))


def test_an_unknown_stage_names_those_that_exist():
    with pytest.raises(ValueError, match="no stage 'conv3'; it has conv1, conv2"):
        LeNet5(1).stage(images(1, 1), "conv3")


def test_images_with_other_channels_are_refused_with_the_key():
    with pytest.raises(ValueError, match=r"takes images \(B, 1, H, W\), got \(2, 3, 32, 32\).*data.n_channels"):
        LeNet5(1)(images(2, 3))


def test_large_maps_are_averaged_to_ten_thousand_numbers_at_most():
    maps = torch.arange(16.0).view(1, 1, 4, 4)
    # 2x2 blocks of the rows 0 1 2 3 / 4 5 6 7 / ...: (0+1+4+5)/4 = 2.5 and so on
    assert torch.equal(pool_maps(maps, max_features=8).flatten(), torch.tensor([2.5, 4.5, 10.5, 12.5]))
    assert pool_maps(maps, max_features=16) is maps
    assert pool_maps(torch.zeros(1, 256, 7, 7)).shape == (1, 256, 6, 6)  # original: 256x6x6 = 9216 for conv5
    assert pool_maps(torch.zeros(1, 20_000, 3, 3)).shape == (1, 20_000, 1, 1)  # channels are never mixed


def test_construction_follows_the_global_generator_and_leaves_batch_norm_untouched():
    def build(seed: int) -> SmallAlexNet:
        torch.manual_seed(seed)
        return SmallAlexNet(3, feature_dim=16, hidden=16)

    first, again, other = build(1), build(1), build(2)
    for key, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[key])
    assert not torch.equal(first.neck.fc2.weight, other.neck.fc2.weight)
    assert first.training and first.features.training
    norm = first.features.conv1[1]
    assert int(norm.num_batches_tracked) == 0 and torch.equal(norm.running_var, torch.ones(48))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_taps_of_a_folded_copy_are_the_stages_one_by_one(dtype):
    torch.manual_seed(0)
    networks = [
        SmallAlexNet(3, feature_dim=8, hidden=8),
        LeNet5(3, batch_norm=True),
        resnet("resnet18", 3, 32),
        VGG16(3, 32, feature_dim=8, hidden=8),
        Coates(3, 32, n_filters=12, layers=2),
    ]
    x = images(4, 3)
    for backbone in networks:
        for module in backbone.modules():  # statistics that folding must not lose
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
        if isinstance(backbone, Coates):
            for code in (backbone.code, *backbone.second.codes):
                code.centroids.normal_()
        backbone.eval()
        fast = inference_copy(backbone, dtype=dtype, channels_last=True)
        names = ["features", *backbone.stages[::-1]]  # any order
        with torch.no_grad():
            found = fast.taps(x, {name: torch.clone for name in names})
            assert list(found) == names
            for name in backbone.stages:
                wanted, tolerance = backbone.stage(x, name), 1e-5 if dtype == torch.float32 else 0.05
                assert float((found[name] - wanted).abs().max()) < tolerance * float(wanted.abs().max()), name
            assert torch.equal(found["features"], fast(x))


def test_taps_end_at_the_last_stage_that_is_read():
    backbone = LeNet5(1).eval()
    backbone.features.conv2 = torch.nn.Linear(1, 1)  # would fail on maps
    assert backbone.taps(images(2, 1), {"conv1": torch.clone})["conv1"].shape == (2, 6, 28, 28)
    with pytest.raises(ValueError, match="no stage 'conv9'; it has conv1, conv2"):
        backbone.taps(images(2, 1), {"conv9": torch.clone})
