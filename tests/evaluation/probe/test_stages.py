"""Which stages are read, and to what they are pooled."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deepcluster.evaluation.probe.stage_probe import StageProbe
from deepcluster.evaluation.probe.stages import Pooling, chosen_stages
from deepcluster.models.alexnet import AlexNet, SmallAlexNet
from deepcluster.models.backbone import Backbone
from deepcluster.models.lenet import LeNet5


def test_alexnet_at_224_is_pooled_as_in_2018() -> None:
    backbone = AlexNet(hidden=4, feature_dim=4).eval()
    found = {stage.name: stage for stage in chosen_stages(backbone, "all", max_features=9600)}
    # REFERENCE: eval_linear.py, RegLog
    assert {name: stage.shape for name, stage in found.items()} == {
        "conv1": (96, 10, 10),
        "conv2": (256, 6, 6),
        "conv3": (384, 5, 5),
        "conv4": (384, 5, 5),
        "conv5": (256, 6, 6),
    }
    assert [stage.n_features for stage in found.values()] == [9600, 9216, 9600, 9600, 9216]
    windows = {"conv1": (6, 6, 3), "conv2": (4, 4, 0), "conv3": (3, 3, 1), "conv4": (3, 3, 1), "conv5": (2, 2, 0)}
    for name, size in (("conv1", 55), ("conv2", 27), ("conv3", 13), ("conv4", 13), ("conv5", 13)):
        maps = torch.rand(2, 3, size, size)
        assert torch.equal(found[name].pooling(maps), nn.AvgPool2d(*windows[name])(maps))


def test_padding_counts_in_the_original_averages() -> None:
    # of ones, the corner window of 3x3 with padding 1 holds 4 ones and 5 zeros
    assert Pooling(window=(3, 3, 1))(torch.ones(1, 1, 13, 13))[0, 0, 0, 0].item() == pytest.approx(4 / 9)


def test_alexnet_at_another_size_and_others_are_pooled_to_a_grid() -> None:
    small = chosen_stages(SmallAlexNet(3, feature_dim=4, hidden=4).eval(), "all", max_features=9600)
    # 48x34x34: isqrt(9600 / 48) = 14; 126x19x19: 8; 192x9x9 = 15552: 7; 128x9x9 = 10368: 8
    assert [stage.shape for stage in small] == [(48, 14, 14), (126, 8, 8), (192, 7, 7), (192, 7, 7), (128, 8, 8)]
    maps = torch.rand(1, 48, 34, 34)
    assert torch.equal(small[0].pooling(maps), F.adaptive_avg_pool2d(maps, (14, 14)))
    odd = chosen_stages(AlexNet(image_size=100, hidden=4, feature_dim=4).eval(), "conv5", max_features=9600)
    assert odd[0].shape == (256, 5, 5) and odd[0].pooling == Pooling()  # small enough as it is


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (None, ["conv2"]),
        ("all", ["conv1", "conv2"]),
        (["all"], ["conv1", "conv2"]),
        ("conv1", ["conv1"]),
        (["features", "conv1"], ["features", "conv1"]),
    ],
)
def test_stages_are_chosen_by_name(wanted: str | list[str] | None, names: list[str]) -> None:
    found = chosen_stages(LeNet5(1).eval(), wanted, max_features=9600)
    assert [stage.name for stage in found] == names
    if "features" in names:
        assert found[0].shape == (84,) and found[0].n_features == 84


def test_a_network_without_stages_is_read_at_its_features() -> None:
    backbone = LeNet5(1).eval()
    backbone.stages = []
    for wanted in (None, "all"):
        assert [stage.name for stage in chosen_stages(backbone, wanted, max_features=9600)] == ["features"]


def test_wrong_stages_are_refused() -> None:
    backbone: Backbone = LeNet5(1).eval()
    with pytest.raises(ValueError, match="no stage conv3, conv9; it has conv1, conv2, features, or all"):
        chosen_stages(backbone, ["conv1", "conv3", "conv9"], max_features=9600)
    with pytest.raises(ValueError, match="names a stage twice"):
        StageProbe(stages=["conv1", "conv1"])
    for wrong in (3, [], [1], {"a": 1}):
        with pytest.raises(ValueError, match=r"evaluation.stages must be null, all, or names"):
            StageProbe(stages=wrong)


def test_a_pooling_comes_back_from_a_file() -> None:
    for pooling in (Pooling(), Pooling(window=(6, 6, 3)), Pooling(grid=(4, 5))):
        assert Pooling.from_state(pooling.state()) == pooling
