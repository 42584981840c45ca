"""init=scatter: wavelets see the orientation they are made for through each network, at the scale of random filters."""

import math
from typing import Any

import pytest
import torch
from support.edges import MEAN, STD, card, edges, networks
from torch import nn

from deepcluster.data.images import MemoryImages
from deepcluster.data.views import FeatureView
from deepcluster.models.backbone import Backbone
from deepcluster.models.coates import Coates
from deepcluster.models.first_layer import first_layer
from deepcluster.models.lenet import LeNet5
from deepcluster.models.wavelets import FREQUENCY
from deepcluster.weights.start import ScatterInit


def started(net: Backbone, images: MemoryImages, seed: int = 1, **settings: Any) -> tuple[nn.Conv2d, list[str]]:
    """The first convolution after the init, and what was told."""
    told = ScatterInit(**settings).apply(net, card=card(images, net.image_size), images=images, seed=seed)
    return first_layer(net, torch.zeros(1, images.n_channels, net.image_size, net.image_size))[1], told


@pytest.mark.parametrize("which", range(5))
def test_answers_keep_the_random_filters_scale_and_no_filter_is_weak(which: int) -> None:
    net, channels = networks()[which]
    images = edges(channels=channels, size=net.image_size)
    view = FeatureView(net.image_size, net.image_size, MEAN[:channels], STD[:channels])
    conv, seen = first_layer(net, view(images.images))[1:]
    before = nn.functional.conv2d(seen, conv.weight.detach().clone())
    if conv.bias is not None:
        nn.init.ones_(conv.bias)
    after, _ = started(net, images)
    assert after is conv and (conv.bias is None or float(conv.bias.detach().abs().max()) == 0)
    answers = nn.functional.conv2d(seen, conv.weight.detach())
    assert float(answers.std() / before.std()) == pytest.approx(1, abs=0.06)
    spreads = answers.transpose(0, 1).flatten(1).std(dim=1)
    assert float(spreads.min() / spreads.max()) > 0.8


@pytest.mark.parametrize("which", range(5))
def test_a_grating_is_answered_most_by_the_filters_of_its_orientation(which: int) -> None:
    net, channels = networks()[which]
    conv, _ = started(net, edges(channels=channels, size=net.image_size), n_orientations=4, n_scales=1)
    n_low, size = conv.in_channels, net.image_size
    n_orientations = min(4, math.ceil((conv.out_channels - n_low) / 2))
    place = torch.arange(size, dtype=torch.float32)
    for number in range(n_orientations):
        angle = math.pi * number / n_orientations
        phase = FREQUENCY * (place * math.cos(angle) + place.unsqueeze(1) * math.sin(angle))
        seen = first_layer(net, phase.cos().expand(1, channels, size, size))[2]
        answers = nn.functional.conv2d(seen, conv.weight.detach())[0, n_low:, 4:-4, 4:-4].square().mean(dim=(1, 2))
        by_orientation = [answers[other::n_orientations][:1] for other in range(n_orientations)]  # the real parts
        assert int(torch.cat(by_orientation).argmax()) == number


def test_wavelets_see_no_flat_colour_and_the_low_passes_its_three_axes() -> None:
    conv, _ = started(networks()[3][0], edges())
    answers = conv.weight.detach().double().sum(dim=(2, 3)) @ torch.eye(3).double()  # to red, green and blue
    assert answers[3:].abs().max() < 1e-6
    luminance, blue_or_red, green = nn.functional.normalize(answers[:3], dim=1)
    half = math.sqrt(0.5)
    torch.testing.assert_close(luminance, torch.full((3,), 1 / math.sqrt(3)).double())
    torch.testing.assert_close(blue_or_red, torch.tensor([half, 0, -half]).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(green, torch.tensor([1.0, -2.0, 1.0]).double() / math.sqrt(6))


def test_the_seed_changes_the_scale_only() -> None:
    def filters(seed: int) -> torch.Tensor:
        torch.manual_seed(7)
        return started(LeNet5(1), edges(channels=1), seed=seed)[0].weight.detach().flatten(1)

    one, same, other = filters(1), filters(1), filters(2)
    assert torch.equal(one, same) and not torch.equal(one, other)
    torch.testing.assert_close(nn.functional.cosine_similarity(one, other), torch.ones(6))
    torch.testing.assert_close(one, other, rtol=0.1, atol=0)


def test_colour_filters_are_bounded_where_colour_images_are_grey() -> None:
    images = edges()
    images.images[:] = images.images[:, :1]
    net = networks()[3][0]
    described = {**card(images), "mean": [0.5] * 3, "std": [0.2] * 3}  # the same, so that grey stays grey
    ScatterInit().apply(net, card=described, images=images, seed=1)
    lengths = first_layer(net, torch.zeros(1, 3, 32, 32))[1].weight.detach().flatten(1).norm(dim=1)
    assert lengths[0] < lengths[1] < 1000 * lengths[0]  # else millions


def test_it_is_told_which_filters_there_are() -> None:
    _, told = started(LeNet5(1), edges(channels=1))
    assert told == [
        "scatter: features.conv1.0's filters of 5x5x1: low-passes 1, wavelets 5 (orientations 3, scales 1, phases 2)"
    ]


def test_layers_that_cannot_take_wavelets_are_refused() -> None:
    images, net = edges(channels=1), LeNet5(1)
    with pytest.raises(ValueError, match=r"init.n_scales=3 does not fit features.conv1.0's kernel of 5x5, .* holds 2"):
        started(net, images, n_scales=3)
    for conv, message in (
        (nn.Conv2d(1, 6, 2), r"kernel of at least 3x3 .*has 2x2; use init=random"),
        (nn.Conv2d(1, 2, 5), r"needs at least 3 filters .*has 2; use init=random"),
        (nn.Conv2d(1, 6, (5, 3)), r"init=scatter cannot give features.conv1.0 its filters: it needs one square kernel"),
    ):
        net.features.conv1[0] = conv
        with pytest.raises(ValueError, match=message):
            started(net, images)
    with pytest.raises(ValueError, match=r"init=scatter; set init=kmeans_patches"):
        started(Coates(1, 32, n_filters=4), images)


def test_images_that_are_all_alike_and_impossible_numbers_are_refused() -> None:
    images = edges(channels=1)
    images.images[:] = 9
    with pytest.raises(ValueError, match=r"20,000 of them are all alike; use init=random"):
        started(LeNet5(1), images)
    for name in ("n_orientations", "n_scales"):
        with pytest.raises(ValueError, match=f"init.{name} must be at least 1, got 0"):
            ScatterInit(**{name: 0})
