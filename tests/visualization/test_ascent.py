"""Gradient ascent: the official steps are the 2018 code's, a batch gives what each image gives, filters are found."""

from collections import OrderedDict
from dataclasses import replace

import pytest
import torch
from reference.gradient_ascent import ascent
from torch import Tensor, nn

from deepcluster.models.alexnet import SmallAlexNet
from deepcluster.models.backbone import Backbone
from deepcluster.visualization.ascent import ascend, black_and_white, denormalise, deprocess, start
from deepcluster.visualization.ascent_recipes import OFFICIAL, SMOOTH, Recipe
from deepcluster.visualization.response import climbable, responses

CHANNELS = torch.tensor([0, 2, 3, 4])


def network(*, sobel: bool = True) -> Backbone:
    """A small AlexNet in float64 whose BatchNorm has statistics."""
    torch.manual_seed(0)
    net = SmallAlexNet(3, 16, channels=(4, 5, 6, 6, 5), hidden=8, feature_dim=8, sobel=sobel).double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    return net.eval().requires_grad_(False)


def starts(recipe: Recipe) -> Tensor:
    return torch.stack([start(recipe, 3, 16, seed=int(channel)) for channel in CHANNELS]).double()


def climbed(net: Backbone, images: Tensor, channels: Tensor, recipe: Recipe, *, bounded: bool) -> Tensor:
    bounds = black_and_white([0.4, 0.5, 0.6], [0.2, 0.3, 0.25]) if bounded else None
    return ascend(
        lambda shown: climbable(responses(net, "conv3", shown), channels),
        images,
        channels,
        recipe,
        seed=3,
        bounds=bounds,
    )


@pytest.mark.parametrize("name", ["official", "smooth"])
def test_a_batch_gives_what_each_image_gives_alone(name: str) -> None:
    recipe = replace({"official": OFFICIAL, "smooth": SMOOTH}[name], n_steps=12, lr=0.5)
    net, images = network(), starts(recipe)
    together = climbed(net, images, CHANNELS, recipe, bounded=name == "smooth")
    for i in range(len(CHANNELS)):
        alone = climbed(net, images[i : i + 1], CHANNELS[i : i + 1], recipe, bounded=name == "smooth")
        assert torch.allclose(alone[0], together[i], rtol=0, atol=1e-9)
    assert (together - images).abs().amax(dim=(1, 2, 3)).min() > 0.1


def test_the_official_steps_are_those_of_the_2018_code() -> None:
    net, recipe = network(), replace(OFFICIAL, n_steps=7)  # blurs in steps 0 and 5
    images = starts(recipe)
    ours = climbed(net, images, CHANNELS, recipe, bounded=False)
    for i, channel in enumerate(CHANNELS):
        one = channel[None]
        theirs = ascent(
            lambda shown, one=one: climbable(responses(net, "conv3", shown), one),
            images[i],
            int(channel),
            lr=3.0,
            wd=1e-5,
            n_steps=7,
            every=5,
        )
        assert torch.allclose(ours[i], theirs, rtol=0, atol=1e-8)


def linear_stage(filters: Tensor, bias: float = 0.0) -> Backbone:
    """One convolution of (2, C, k, k) filters that do not overlap, and ReLU."""
    conv = nn.Conv2d(filters.shape[1], 2, filters.shape[2], stride=filters.shape[2])
    with torch.no_grad():
        conv.weight.copy_(filters)
        conv.bias.fill_(bias)
    layers = OrderedDict(conv1=nn.Sequential(conv, nn.ReLU(inplace=True)))
    return Backbone(
        features=nn.Sequential(layers),
        neck=nn.Sequential(nn.Flatten()),
        feature_dim=2,
        stages=["conv1"],
        in_channels=filters.shape[1],
        image_size=10,
        sobel=False,
    ).requires_grad_(False)


@pytest.mark.parametrize("bias", [0.0, -3.0])  # -3: silent after ReLU at the start, the convolution is climbed
def test_the_best_image_of_a_linear_filter_is_the_filter(bias: float) -> None:
    torch.manual_seed(1)
    one = torch.randn(1, 3, 5, 5)
    net = linear_stage(torch.cat([one, -one]), bias)
    recipe = replace(OFFICIAL, n_steps=300, lr=0.2, weight_decay=1e-4, start_mean=0.0, start_std=0.1, blur_sigma=0.0)
    side = 10 if bias == 0 else 5  # once ReLU is open at one place, the others would have no gradient
    begin = start(recipe, 3, side, seed=1)[None]
    channel = torch.tensor([0])
    end = ascend(lambda x: climbable(responses(net, "conv1", x), channel), begin, channel, recipe, seed=1)
    tiled = one.repeat(1, 1, side // 5, side // 5)  # at each place of the filter

    def correlation(image: Tensor) -> float:
        return float(torch.corrcoef(torch.stack([image.flatten(), tiled.flatten()]))[0, 1])

    assert abs(correlation(begin)) < 0.5
    assert correlation(end) > 0.98
    before, after = (responses(net, "conv1", x).after[0, 0] for x in (begin, end))
    assert after > before + 1 and bool(before == 0) == (bias < 0)


def test_an_image_that_nothing_moves_stays_as_it_is() -> None:
    net = linear_stage(torch.zeros(2, 1, 5, 5))
    begin, channel = torch.full((1, 1, 10, 10), 0.25), torch.tensor([0])
    recipe = replace(SMOOTH, n_steps=3)
    end = ascend(lambda x: responses(net, "conv1", x).after, begin, channel, recipe, seed=1)
    assert torch.equal(end, begin)


def test_answers_without_a_gradient_are_refused() -> None:
    images, channel = torch.rand(1, 1, 8, 8), torch.tensor([0])
    with pytest.raises(ValueError, match="no gradient"):
        ascend(lambda x: (x.mean(dim=(2, 3)) > 0).float(), images, channel, SMOOTH, seed=1)


def test_pictures_of_pixels() -> None:
    images = torch.tensor([-3.0, -1.0, 1.0, 3.0]).view(1, 1, 2, 2) * 7 + 128  # std sqrt(5) x 7, mean 128
    step = 0.1 / 5**0.5
    wanted = [round(255 * (0.5 + share * step)) for share in (-3, -1, 1, 3)]
    assert deprocess(images).flatten().tolist() == wanted
    mean, std = [0.2, 0.6], [0.1, 0.5]
    low, high = black_and_white(mean, std)
    shown = denormalise(torch.stack([low, high, torch.zeros_like(low)]), mean, std)[:, :, 0, 0]
    assert shown.tolist() == [[0, 0], [255, 255], [51, 153]]


def test_the_smooth_recipe_stays_between_black_and_white() -> None:
    recipe = replace(SMOOTH, n_steps=20, lr=1.0)
    net = network()
    end = climbed(net, starts(recipe), CHANNELS, recipe, bounded=True)
    low, high = black_and_white([0.4, 0.5, 0.6], [0.2, 0.3, 0.25])
    assert bool((end >= low - 1e-6).all()) and bool((end <= high + 1e-6).all())
    assert bool((end <= low + 1e-6).any()) and bool((end >= high - 1e-6).any())  # the bounds were met
