"""The picture of filters: what grey and which colour stands where."""

from pathlib import Path

import pytest
import torch
from support.picture_context import context
from support.tiny import images
from torchvision.io import decode_image

from deepcluster.models.alexnet import SmallAlexNet
from deepcluster.models.coates import Coates
from deepcluster.models.lenet import LeNet5
from deepcluster.models.resnet import resnet
from deepcluster.visualization.filters_picture import filter_grid, first_convolution, save_filters
from deepcluster.visualization.first_filters import FirstFilters


def test_zero_is_grey_and_the_largest_value_is_white_or_black():
    filters = torch.tensor([[[[0.0, 2.0], [-1.0, -2.0]]], [[[0.0, 0.5], [0.25, 0.0]]]])  # each by its own largest
    picture = filter_grid(filters, n_columns=2, zoom=1)
    row, line = [picture[1, :, c].tolist() for c in range(3)], picture[0]
    assert row[0] == row[1] == row[2] == [255, 128, 255, 255, 128, 255, 255]  # lines at 0, 3, 6
    assert picture[2, :, 0].tolist() == [255, 64, 0, 255, 191, 128, 255]
    assert bool((line == 255).all()) and picture.shape == (4, 7, 3)


def test_colours_stay_in_their_channels_and_missing_filters_are_white():
    filters = torch.zeros(3, 3, 2, 2)
    filters[0, 0], filters[1, 1], filters[2, 2] = 1.0, -1.0, 1.0
    picture = filter_grid(filters, n_columns=2, zoom=4)
    assert picture.shape == (2 * 9 + 1, 2 * 9 + 1, 3)
    assert picture[5, 5].tolist() == [255, 128, 128]
    assert picture[5, 14].tolist() == [128, 0, 128]
    assert picture[14, 5].tolist() == [128, 128, 255]
    assert picture[14, 14].tolist() == [255, 255, 255]


def test_the_two_channels_of_sobel_stand_side_by_side(tmp_path: Path):
    filters = torch.zeros(1, 2, 3, 3)
    filters[0, 0], filters[0, 1] = 1.0, -1.0
    picture = filter_grid(filters, zoom=1)
    assert picture[1, 1:7, 0].tolist() == [255, 255, 255, 0, 0, 0]
    save_filters(filters, tmp_path / "new" / "filters.png", zoom=1)
    assert torch.equal(decode_image(tmp_path / "new" / "filters.png"), picture.permute(2, 0, 1))
    with pytest.raises(ValueError, match=r"\(K, C, h, w\)"):
        filter_grid(filters[0])


def test_the_convolution_that_runs_first_is_drawn_of_any_network(tmp_path: Path):
    torch.manual_seed(0)
    for net, name, shape in (
        (LeNet5(1, 16), "features.conv1.0", (6, 1, 5, 5)),
        (SmallAlexNet(3, 16, channels=(4,) * 5, hidden=4, feature_dim=4), "features.conv1.0", (4, 2, 3, 3)),
        (resnet("resnet18", 2, 32), "features.conv1.0", (64, 2, 3, 3)),
        (Coates(3, 16, n_filters=5), "features.conv1", (5, 3, 6, 6)),
    ):
        found, filters = first_convolution(net.eval())
        assert found == name and filters.shape == shape
        results = FirstFilters(zoom=2).run(context(tmp_path, images(2), net))
        assert list(results.values()) == list(shape)
        expected = filter_grid(filters, zoom=2)
        assert torch.equal(decode_image(tmp_path / "first_filters.png"), expected.permute(2, 0, 1))
    with pytest.raises(ValueError, match=r"evaluation.zoom must be at least 1"):
        FirstFilters(zoom=0)
