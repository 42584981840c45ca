"""Sobel: worked out by hand on a step from dark to bright."""

import torch
from reference.networks_2018 import sobel_2018

from deepcluster.models.sobel import Sobel


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
