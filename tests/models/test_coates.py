"""The networks of one layer and of two against their twin of loops."""

import numpy as np
import pytest
import torch
from reference import coates as twin

from deepcluster.features.inference import inference_copy
from deepcluster.models import coates
from deepcluster.models.coates import Coates, PatchCode, QuadrantSum
from deepcluster.models.patches import Whitening, normalise_contrast

MEAN, STD = [0.49, 0.48, 0.45], [0.247, 0.243, 0.261]


def grey_levels(n: int, channels: int, size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, channels, size, size), generator=generator).float()
    images[0, :, :4, :4] = 200.0  # a flat corner, as in a sky
    return images


def fill(code: PatchCode, generator: torch.Generator, contrast: float) -> None:
    d = len(code.mean)
    matrix = torch.randn(d, d, generator=generator) * 0.3
    whitening = Whitening(mean=0.1 * torch.randn(d, generator=generator), matrix=matrix + matrix.T)
    code.learn(torch.randn(len(code.centroids), d, generator=generator), whitening, contrast=contrast)


def learned(channels: int, size: int, *, patch: int = 3, hard: bool = False, **second: int) -> Coates:
    generator = torch.Generator().manual_seed(1)
    net = Coates(channels, size, n_filters=9, patch_size=patch, hard=hard, **second)
    fill(net.code, generator, contrast=10.0)
    net.code.see(MEAN[:channels], STD[:channels])
    if net.second is not None:
        groups = [torch.randperm(9, generator=generator)[: net.second.groups.shape[1]] for _ in net.second.codes]
        net.second.groups.copy_(torch.stack(groups))
        for code in net.second.codes:
            fill(code, generator, contrast=0.05)
    return net


TWO = {"layers": 2, "n_groups": 3, "group_size": 4, "group_filters": 5}


def arrays(code: PatchCode) -> list[np.ndarray]:
    return [array.double().numpy() for array in (code.centroids, code.mean, code.whitening)]


def normalised(images: torch.Tensor) -> torch.Tensor:
    channels = images.shape[1]
    mean, std = torch.tensor(MEAN[:channels]).view(-1, 1, 1), torch.tensor(STD[:channels]).view(-1, 1, 1)
    return (images / 255 - mean) / std


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize(("channels", "size", "patch"), [(3, 9, 3), (1, 8, 3), (3, 8, 4)])
def test_features_are_those_of_the_loops_whatever_normalises_the_images(channels, size, patch, hard):
    images, net = grey_levels(3, channels, size), learned(channels, size, patch=patch, hard=hard)
    expected = []
    for image in images:
        maps = twin.codes(image.double().numpy(), *arrays(net.code), size=patch, contrast=10.0, hard=hard)
        expected.append(twin.quadrants(maps).reshape(-1))
    found = net(normalised(images))
    assert found.shape == (3, net.feature_dim)
    np.testing.assert_allclose(found.numpy(), np.array(expected), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize(("channels", "size", "patch"), [(3, 11, 3), (1, 15, 4), (1, 13, 3)])
def test_two_layers_are_those_of_the_loops_beside_one_another(channels, size, patch, hard):
    images, net = grey_levels(2, channels, size), learned(channels, size, patch=patch, hard=hard, **TWO)
    expected = []
    for image in images:
        first = twin.codes(image.double().numpy(), *arrays(net.code), size=patch, contrast=10.0, hard=hard)
        maps = twin.pooled(first, 3)
        second = [
            twin.codes(maps[group.numpy()], *arrays(code), size=2, contrast=0.05, hard=hard)
            for group, code in zip(net.second.groups, net.second.codes, strict=True)
        ]
        sums = [twin.quadrants(each) for each in (first, np.concatenate(second))]
        expected.append(np.concatenate(sums).reshape(-1))
    found = net(normalised(images))
    assert found.shape == (2, net.feature_dim) and net.feature_dim == 4 * (9 + 3 * 5)
    np.testing.assert_allclose(found.numpy(), np.array(expected), rtol=1e-4, atol=2e-3)


def test_the_first_layer_of_two_is_the_network_of_one():
    one, two, images = learned(3, 11), learned(3, 11, **TWO), normalised(grey_levels(3, 3, 11))
    assert torch.equal(two(images)[:, :36], one(images))
    assert {name: tensor.shape for name, tensor in one.state_dict().items()}.items() <= {
        name: tensor.shape for name, tensor in two.state_dict().items()
    }.items()


def test_no_layer_is_computed_twice():
    net, images = learned(3, 11, **TWO), normalised(grey_levels(3, 3, 11))
    seen = []
    net.code.register_forward_hook(lambda *_: seen.append("conv1"))
    net.second.register_forward_hook(lambda *_: seen.append("conv2"))
    found = net.taps(images, {"features": torch.clone, "conv1": torch.clone, "conv2": torch.clone})
    assert seen == ["conv1", "conv2"]
    assert torch.equal(found["features"], net(images)) and torch.equal(found["conv2"], net.stage(images, "conv2"))
    seen.clear()
    net.taps(images, {"conv1": torch.clone})
    assert seen == ["conv1"]


def test_blocks_of_images_change_nothing(monkeypatch):
    images = normalised(grey_levels(5, 3, 12))
    whole = learned(3, 12)(images)
    monkeypatch.setattr(coates, "NUMBERS_PER_BLOCK", 2 * 9 * 10 * 10)
    blocked = learned(3, 12)
    assert blocked._block(images) == 2
    torch.testing.assert_close(blocked(images), whole)
    monkeypatch.setattr(coates, "NUMBERS_PER_BLOCK", 9 * 10 * 10 - 1)  # less than one image's maps
    torch.testing.assert_close(blocked(images), whole)
    found = blocked.taps(images, {"features": lambda features: features[:, :4], "conv1": torch.clone})
    assert list(found) == ["features", "conv1"]
    torch.testing.assert_close(found["features"], whole[:, :4])
    torch.testing.assert_close(found["conv1"], blocked.stage(images, "conv1"))


def test_blocks_are_as_small_as_the_layer_with_more_codes_demands(monkeypatch):
    net, images = learned(3, 15, **{**TWO, "group_filters": 500}), normalised(grey_levels(4, 3, 15))
    codes = net.stage(images[:1], "conv2").numel()
    assert codes > net.stage(images[:1], "conv1").numel()
    monkeypatch.setattr(coates, "NUMBERS_PER_BLOCK", 2 * codes)
    assert net._block(images) == 2


def test_autocast_does_not_round_distances():
    net, images = learned(3, 9), normalised(grey_levels(3, 3, 9))
    with torch.autocast("cpu", torch.bfloat16):
        inside = net(images)
    assert inside.dtype == torch.float32 and torch.equal(inside, net(images))


def test_codes_that_pictures_climb_are_the_same_numbers():
    net, images = learned(3, 9), normalised(grey_levels(2, 3, 9))
    climbed = net(images.clone().requires_grad_())
    assert climbed.requires_grad
    torch.testing.assert_close(climbed.detach(), net(images))


def test_quadrants_are_sums_and_the_middle_belongs_above_and_left():
    maps = torch.arange(9.0).view(1, 1, 3, 3)  # 0 1 2 / 3 4 5 / 6 7 8
    assert QuadrantSum()(maps).flatten().tolist() == [0 + 1 + 3 + 4, 2 + 5, 6 + 7, 8]


def test_triangles_are_never_negative_and_a_hard_code_has_one_1():
    images = normalised(grey_levels(2, 3, 9))
    soft, hard = learned(3, 9).stage(images, "conv1"), learned(3, 9, hard=True).stage(images, "conv1")
    assert float(soft.min()) == 0 and 0.2 < float((soft == 0).float().mean()) < 0.8
    assert torch.equal(hard.sum(dim=1), torch.ones(2, 7, 7))
    assert torch.equal(hard.argmax(dim=1), soft.argmax(dim=1))  # the nearest has the largest triangle


@pytest.mark.parametrize("climbed", [False, True])
def test_a_patch_that_is_a_centroid_has_a_finite_code_and_gradient(climbed):
    images, net = normalised(grey_levels(2, 3, 9)), learned(3, 9)
    code = net.code
    grey = images * code.scale.view(-1, 1, 1) + code.shift.view(-1, 1, 1)
    patches = torch.nn.functional.unfold(grey, 3).transpose(1, 2).flatten(0, 1)
    whitening = Whitening(mean=code.mean, matrix=code.whitening)
    code.centroids.copy_(whitening.apply(normalise_contrast(patches, 10.0))[::10][:9])
    images.requires_grad_(climbed)
    features = net(images)
    assert features.isfinite().all()
    if climbed:
        features.sum().backward()
        assert images.grad.isfinite().all()


def test_an_inference_copy_in_bfloat16_stays_exact():
    net, images = learned(3, 9), normalised(grey_levels(3, 3, 9))
    fast = inference_copy(net, dtype=torch.bfloat16, channels_last=True)
    torch.testing.assert_close(fast(images), net(images))
    torch.testing.assert_close(fast.convolutional(images), net(images))


@pytest.mark.parametrize("second", [{}, TWO])
def test_a_state_dict_brings_everything_back(second):
    net, again = learned(3, 11, **second), Coates(3, 11, n_filters=9, patch_size=3, **second)
    again.load_state_dict(net.state_dict())
    images = normalised(grey_levels(2, 3, 11))
    assert torch.equal(again(images), net(images))


def test_what_cannot_work_is_refused():
    with pytest.raises(ValueError, match=r"arch.patch_size .* below view.size=6, got 6"):
        Coates(3, 6, patch_size=6)
    with pytest.raises(ValueError, match=r"arch.n_filters must be at least 2"):
        Coates(3, 32, n_filters=1)
    with pytest.raises(ValueError, match="set init=kmeans_patches"):
        Coates(3, 9, n_filters=4, patch_size=3)(torch.zeros(1, 3, 9, 9))


def test_two_layers_have_the_papers_sizes_and_smaller_networks_smaller_ones():
    second = Coates(3, 32, layers=2).second
    assert second.groups.shape == (32, 200) and sum(len(code.centroids) for code in second.codes) == 3200
    assert Coates(1, 16, n_filters=2, layers=2).second.groups.shape == (2, 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": 3}, r"arch.layers must be 1 or 2, got 3"),
        ({"group_size": 9}, r"arch.group_size=9 is of the second layer; leave it out, or set arch.layers=2"),
        (
            {"layers": 2, "group_size": 21},
            r"arch.group_size must be .* and at most arch.n_filters=20, .* got 21",
        ),
        ({"layers": 2, "n_groups": 21}, r"arch.n_groups must be at least 1 and at most arch.n_filters=20, .* got 21"),
        ({"layers": 2, "group_filters": 1}, r"arch.group_filters must be at least 2; got 1"),
        ({"layers": 2, "image_size": 13}, r"arch.patch_size=6 needs view.size=14 or more, got 13; raise it"),
    ],
)
def test_second_layers_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Coates(**{"n_filters": 20, **settings})
