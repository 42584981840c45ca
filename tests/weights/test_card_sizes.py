"""A checkpoint's card with absurd sizes is refused in words."""

import pytest

from deepcluster.weights.network import build_backbone


@pytest.mark.parametrize(("in_channels", "image_size"), [(10**9, 32), (0, 32), (True, 32), (3, "32"), (3, 10**12)])
def test_a_size_that_no_image_has_is_refused(in_channels: object, image_size: object) -> None:
    card = {
        "arch": {"_target_": "deepcluster.models.lenet.LeNet5"},
        "in_channels": in_channels,
        "image_size": image_size,
    }
    with pytest.raises(ValueError, match=r"must be a whole number in \[1, 65536\]"):
        build_backbone(card)
