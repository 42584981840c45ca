from collections.abc import Callable
from typing import Any

import pytest

from deepcluster.models.alexnet import AlexNet, SmallAlexNet
from deepcluster.models.lenet import LeNet5
from deepcluster.models.vgg import VGG16


@pytest.mark.parametrize("network", [AlexNet, SmallAlexNet, VGG16, LeNet5])
@pytest.mark.parametrize("name", ["hidden", "feature_dim"])
@pytest.mark.parametrize("units", [0, -1])
def test_a_layer_without_units_is_refused(network: Callable[..., Any], name: str, units: int) -> None:
    with pytest.raises(ValueError, match=rf"arch.{name} must be at least 1, got {units}"):
        network(**{name: units})


def test_the_small_alexnet_takes_images_down_to_6() -> None:
    assert SmallAlexNet(image_size=6, hidden=2, feature_dim=2).neck.fc1.in_features == 128
    with pytest.raises(ValueError, match="needs at least 6"):
        SmallAlexNet(image_size=5, hidden=2, feature_dim=2)
