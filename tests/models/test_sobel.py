"""Sobel: worked out by hand on a step from dark to bright; and random filters in its place."""

import pytest
import torch
from reference.networks_2018 import sobel_2018

from deepcluster.models.alexnet import SmallAlexNet
from deepcluster.models.sobel import Sobel, fixed_layer


def test_vertical_step_edge_gives_the_values_worked_out_by_hand():
    image = torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0]).expand(1, 1, 4, 5)
    left_minus_right, up_minus_down = Sobel(1)(image)[0]
    # A column counts 1 + 2 + 1 = 4 inside and 2 + 1 = 3 in the first and last row; outside there are zeros.
    side = torch.tensor([0.0, -3.0, -3.0, 0.0, 3.0])
    inside = torch.tensor([0.0, -4.0, -4.0, 0.0, 4.0])
    assert torch.equal(left_minus_right, torch.stack([side, inside, inside, side]))
    # Rows are equal inside; the border rows meet the zeros, with 1, 2, 1 of [0 0 1 1 1] around each column.
    row = torch.tensor([0.0, 1.0, 3.0, 4.0, 3.0])
    zero = torch.zeros(5)
    assert torch.equal(up_minus_down, torch.stack([-row, zero, zero, row]))


def test_grey_is_the_mean_of_the_channels():
    generator = torch.Generator().manual_seed(0)
    colour = torch.randn(2, 3, 6, 6, generator=generator)
    grey = colour.sum(1, keepdim=True) / 3
    torch.testing.assert_close(Sobel(3)(colour), Sobel(1)(grey))


def test_edges_and_their_gradients_are_those_of_the_two_convolutions_of_2018():
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(3, 3, 17, 12, generator=generator)
    ours, theirs = images.clone().requires_grad_(), images.clone().requires_grad_()
    edges, expected = Sobel(3)(ours), sobel_2018()(theirs)
    torch.testing.assert_close(edges, expected)
    weights = torch.randn(edges.shape, generator=generator)
    (edges * weights).sum().backward(), (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_nothing_is_learned_and_nothing_is_saved():
    sobel = Sobel(3)
    assert list(sobel.parameters()) == []
    assert sobel.state_dict() == {}


def test_edges_stay_exact_under_bfloat16_autocast():
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    exact = Sobel(3)(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(Sobel(3)(images), exact)


def test_random_filters_are_those_of_two_convolutions_that_were_drawn_anew():
    torch.manual_seed(5)
    layer, theirs = Sobel(3, random=True), sobel_2018()
    theirs[0].weight.data.copy_(layer.grey), theirs[1].weight.data.copy_(layer.filters)
    images = torch.randn(3, 3, 17, 12)
    torch.testing.assert_close(layer(images), theirs(images))
    torch.manual_seed(5)
    assert torch.equal(Sobel(3, random=True).filters, layer.filters)


def test_random_filters_have_the_variances_of_he_fan_out():
    """2 / (kernel area x output channels): 2 of the 1x1 convolution to one channel, 1/9 of the 3x3 to two."""
    torch.manual_seed(0)
    layers = [Sobel(3, random=True) for _ in range(2000)]
    grey, filters = torch.stack([layer.grey for layer in layers]), torch.stack([layer.filters for layer in layers])
    assert grey.var().item() == pytest.approx(2, rel=0.06) and filters.var().item() == pytest.approx(1 / 9, rel=0.03)


def test_random_filters_are_kept_with_the_weights_and_not_learned():
    network, other = (SmallAlexNet(feature_dim=8, hidden=8, sobel="random") for _ in range(2))
    assert {"sobel.grey", "sobel.filters"} <= network.state_dict().keys()
    assert not [name for name, _ in network.named_parameters() if name.startswith("sobel")]
    other.load_state_dict(network.state_dict())
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(network.eval()(images), other.eval()(images))


def test_another_word_is_refused():
    with pytest.raises(ValueError, match=r"arch\.sobel must be true, false or random, got rnadom"):
        fixed_layer("rnadom", 3)
