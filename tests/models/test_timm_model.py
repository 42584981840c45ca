"""timm models as backbones: the same numbers as timm's own interfaces give."""

import sys

import pytest
import torch

from deepcluster.models.timm_model import timm_backbone

timm = pytest.importorskip("timm")


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050"])
def test_features_and_stages_are_timms_own(name):
    torch.manual_seed(0)
    ours = timm_backbone(name, 3, 64).eval()
    theirs = timm.create_model(name, num_classes=0).eval()
    theirs.load_state_dict(ours.features.model.state_dict())
    maps_only = timm.create_model(name, features_only=True).eval()
    maps_only.load_state_dict(theirs.state_dict(), strict=False)
    images = torch.randn(2, 3, 64, 64)
    features = ours(images)
    assert torch.equal(features, theirs(images)) and features.shape == (2, ours.feature_dim)
    maps = maps_only(images)
    assert len(maps) == len(ours.stages)
    for stage, wanted in zip(ours.stages, maps, strict=True):
        torch.testing.assert_close(ours.stage(images, stage), wanted)
    assert torch.equal(ours.convolutional(images), maps[-1].flatten(1))
    several = ours.taps(images, {name: torch.clone for name in ("features", ours.stages[3], ours.stages[1])})
    torch.testing.assert_close(list(several.values()), [features, maps[3], maps[1]])


def test_a_transformer_is_built_for_the_image_size_and_gives_maps():
    net = timm_backbone("vit_tiny_patch16_224", 1, 64, sobel=True).eval()
    images = torch.randn(2, 1, 64, 64)
    assert net(images).shape == (2, 192)
    assert net.stage(images, "blocks.3").shape == (2, 192, 4, 4)


def test_without_timm_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"pip install timm"):
        timm_backbone("resnet18")


def test_an_unknown_name_tells_near_ones():
    with pytest.raises(ValueError, match=r"arch.name=convnext_nano2 is not a model of timm; similar names: .*convnext"):
        timm_backbone("convnext_nano2")
