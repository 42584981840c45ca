"""init=kmeans_patches: filters of the layer that runs first, at the scale of random ones, decided by the seed."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference.coates import dependence, normalised, zca
from support.edges import MEAN, STD, card, edges, networks
from torch import nn
from torchvision.io import write_png

from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.kmeans_torch import lloyd_from_noise
from deepcluster.data.images import FileImages, ImageSet, MemoryImages
from deepcluster.data.views import FeatureView
from deepcluster.models.alexnet import SmallAlexNet
from deepcluster.models.backbone import Backbone
from deepcluster.models.coates import Coates
from deepcluster.models.first_layer import first_layer
from deepcluster.models.lenet import LeNet5
from deepcluster.system.seeding import mix
from deepcluster.weights import patch_filters
from deepcluster.weights.patch_filters import IMAGES_PER_BATCH, random_patches
from deepcluster.weights.start import KMeansPatchesInit, RandomInit


def started(backbone: Backbone, images: ImageSet, seed: int = 1, **settings: Any) -> tuple[nn.Conv2d, list[str]]:
    """The first convolution after the init, and what was told."""
    described = card(images, backbone.image_size)
    init = KMeansPatchesInit(**{"n_patches": 2000, **settings})
    told = init.apply(backbone, card=described, images=images, seed=seed)
    size = backbone.image_size
    return first_layer(backbone, torch.zeros(1, images.n_channels, size, size))[1], told


@pytest.mark.parametrize(("which", "black"), [(0, False), (0, True), (1, False), (2, False), (3, False), (4, False)])
def test_answers_keep_the_random_filters_scale(which: int, black: bool) -> None:
    net, channels = networks()[which]
    images = edges(channels=channels, size=net.image_size, black=black)
    view = FeatureView(net.image_size, net.image_size, MEAN[:channels], STD[:channels])
    conv, seen = first_layer(net, view(images.images))[1:]
    before = conv.weight.detach().clone()
    if conv.bias is not None:
        nn.init.ones_(conv.bias)
    inside = nn.functional.conv2d(seen, before)
    after, _ = started(net, images, n_patches=20_000)
    assert after is conv and not torch.allclose(conv.weight.detach(), before)
    if conv.bias is not None:
        assert float(conv.bias.detach().abs().max()) == 0
    # of all patches, of which the init saw a sample
    learned = nn.functional.conv2d(seen, conv.weight.detach())
    assert float(learned.std() / inside.std()) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"contrast": 400.0, "epsilon": 0.5},
        {"fold": True},
        {"normalise": False},
        {"spherical": True},
        {"start": "noise", "n_iter": 30},
        {"start": "noise", "n_iter": 30, "spherical": True},
    ],
    ids=str,
)
def test_filters_point_as_the_centroids_of_patches_normalised_in_grey_levels_and_whitened(
    settings: dict[str, Any],
) -> None:
    images, init = edges(channels=1), KMeansPatchesInit(**{"n_patches": 2000, **settings})
    torch.manual_seed(0)
    conv, _ = started(LeNet5(1), images, **settings)
    scale = 1.0 if init.normalise else 1 / (255 * STD[0])  # epsilon counts in what the layer sees
    view = FeatureView(32, 32, [0.0], [1 / 255])
    patches = random_patches(init, images, view, lambda batch: batch, 5, seed=1).double().numpy()
    patches = patches[patches.var(axis=1) > 0.001] * scale
    learned = np.array([normalised(patch, init.contrast) for patch in patches]) if init.normalise else patches
    mean, matrix = zca(learned, init.epsilon)
    whitened = torch.from_numpy((learned - mean) @ matrix).float()
    kmeans: dict[str, Any] = {"seed": mix(1, "patches", "k-means")}
    if init.start == "noise":
        centroids = lloyd_from_noise(whitened, 6, n_iter=30, spherical=init.spherical, **kmeans)
    else:
        centroids = KMeans(k=6, n_iter=init.n_iter, spherical=init.spherical).fit(whitened, **kmeans).centroids
    filters = centroids.double().numpy()
    if init.fold:
        filters = filters @ matrix
        filters = filters - filters.mean(axis=1, keepdims=True)
    cosine = nn.functional.cosine_similarity(conv.weight.detach().flatten(1).double(), torch.from_numpy(filters))
    torch.testing.assert_close(cosine, torch.ones(6).double(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("fold", [False, True])
def test_two_kinds_of_patches_give_the_filter_that_tells_them_apart(fold: bool) -> None:
    # Ramps to the right and downwards: every normalised patch is one of two, R and D. The whitened centroids are
    # opposite, along R - D, the only direction that varies, so both filters are +-(R - D), without flat answer.
    ramp = (100 + 4 * torch.arange(32)).to(torch.uint8).expand(32, 32)
    pixels = torch.stack([ramp, ramp.T]).unsqueeze(1).repeat(20, 1, 1, 1)
    images = MemoryImages(images=pixels, samples=[str(i) for i in range(40)])
    torch.manual_seed(0)
    conv, told = started(LeNet5(1, channels=[2, 4]), images, fold=fold)
    small = torch.arange(5.0).expand(5, 5)
    cosine = nn.functional.cosine_similarity(conv.weight.detach().flatten(1), (small - small.T).reshape(1, 25), dim=1)
    torch.testing.assert_close(cosine.sort().values, torch.tensor([-1.0, 1.0]), atol=1e-3, rtol=0)
    assert told[0].startswith("kmeans_patches: features.conv1.0's 2 filters of 5x5x1 from 2,000 patches of 40 images")


def test_the_seed_alone_decides() -> None:
    def filters(seed: int, state: int) -> torch.Tensor:
        torch.manual_seed(7)
        net = LeNet5(1)
        torch.manual_seed(state)
        return started(net, edges(channels=1), seed=seed)[0].weight.detach()

    assert torch.equal(filters(1, 0), filters(1, 5))
    assert not torch.allclose(filters(1, 0), filters(2, 0))


def test_files_give_the_filters_of_memory(tmp_path: Path) -> None:
    images = edges(n=30)
    for i, pixels in enumerate(images.images):
        write_png(pixels, str(tmp_path / f"{i:02}.png"))
    files = FileImages(root=tmp_path, samples=[f"{i:02}.png" for i in range(30)], n_channels=3)
    found = []
    for source in (images, files):
        torch.manual_seed(0)
        found.append(started(SmallAlexNet(3, sobel=False, feature_dim=8, hidden=8), source)[0].weight.detach())
    torch.testing.assert_close(found[0], found[1])


def test_flat_patches_are_left_out_and_told() -> None:
    torch.manual_seed(0)
    _, told = started(LeNet5(1), edges(channels=1, black=True))
    share = int(told[0].split("images, ")[1].split("%")[0])
    assert 30 <= share <= 60


def test_patches_of_a_single_grey_level_are_not_flat() -> None:
    images = edges(channels=1)
    images.images[:] = 100 + images.images % 2
    torch.manual_seed(0)
    _, told = started(LeNet5(1), images)
    assert "flat" not in told[0]


def test_the_seed_draws_the_patches_and_each_batch_of_images_has_places_of_its_own() -> None:
    images = edges(n=2 * IMAGES_PER_BATCH, channels=1)
    images.images[:] = torch.arange(1024).remainder(251).view(32, 32).to(torch.uint8)  # a patch tells its place
    view, init = FeatureView(32, 32, [0.0], [1 / 255]), KMeansPatchesInit(n_patches=256)
    one, same, other = (random_patches(init, images, view, lambda batch: batch, 5, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert not torch.equal(one[:128], one[128:])


def test_a_gpu_is_used_and_a_device_without_float64_sums_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    images = edges(channels=1)
    asked: list[str] = []
    with monkeypatch.context() as patched:
        for way in ("_first_layer", "_coates"):
            patched.setattr(patch_filters, way, lambda *given: asked.append(given[-1].type))
        for net in (LeNet5(1), Coates(1, 32, n_filters=4)):
            gpu = torch.device("cuda")
            KMeansPatchesInit().apply(net, card=card(images), images=images, seed=1, device=gpu)
    assert asked == ["cuda", "cuda"]
    weights = []
    for device in (torch.device("cpu"), torch.device("mps")):  # of which this machine may have none
        torch.manual_seed(0)
        net = LeNet5(1)
        KMeansPatchesInit(n_patches=500).apply(net, card=card(images), images=images, seed=1, device=device)
        weights.append(net.features.conv1[0].weight.detach())
    assert torch.equal(*weights)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_learns_filters_of_the_same_scale_and_the_network_stays_where_it_is() -> None:
    images = edges(channels=1)
    found = []
    for device in (torch.device("cpu"), torch.device("cuda")):
        torch.manual_seed(0)
        net = LeNet5(1)
        KMeansPatchesInit().apply(net, card=card(images), images=images, seed=1, device=device)
        found.append(net.features.conv1[0].weight.detach())
    seen = FeatureView(32, 32, MEAN[:1], STD[:1])(images.images)
    answers = [nn.functional.conv2d(seen, weight) for weight in found]  # on the CPU, where the network stayed
    assert float(answers[1].std() / answers[0].std()) == pytest.approx(1, abs=0.06)


def test_patches_come_evenly_from_the_images_that_were_drawn() -> None:
    images = edges(n=200)
    for i in range(200):
        images.images[i] = i  # a patch tells its image
    init = KMeansPatchesInit(n_patches=230, n_images=100)
    view = FeatureView(32, 32, [0.0] * 3, [1 / 255] * 3)
    patches = random_patches(init, images, view, lambda batch: batch, 5, seed=3)
    assert patches.shape == (230, 75)
    drawn, counts = patches[:, 0].round().long().unique(return_counts=True)
    assert len(drawn) == 100 and sorted(counts.tolist()) == 70 * [2] + 30 * [3]


def test_every_place_of_an_image_is_cut() -> None:
    images = edges(n=2)
    images.images[:] = torch.arange(32 * 32).remainder(256).view(32, 32).to(torch.uint8)
    images.images[:, 1] = torch.arange(32 * 32).div(256, rounding_mode="floor").view(32, 32).to(torch.uint8)
    view = FeatureView(32, 32, [0.0] * 3, [1 / 255] * 3)
    patches = random_patches(KMeansPatchesInit(n_patches=20_000), images, view, lambda batch: batch, 30, seed=3)
    corners = (patches[:, 0] + 256 * patches[:, 900]).round().long()
    places, counts = corners.unique(return_counts=True)
    assert places.tolist() == [0, 1, 2, 32, 33, 34, 64, 65, 66]
    assert counts.min() > 2000  # of 2222 expected


def coates(images: ImageSet, mean: list[float], std: list[float], **settings: Any) -> tuple[Coates, torch.Tensor]:
    net = Coates(3, 32, n_filters=12, patch_size=6)
    described = {**card(images), "mean": mean, "std": std}
    KMeansPatchesInit(n_patches=3000, **settings).apply(net, card=described, images=images, seed=1)
    assert isinstance(images, MemoryImages)
    return net, net(FeatureView(32, 32, mean, std)(images.images))


def test_coates_learns_and_sees_grey_levels_whatever_the_images_are_normalised_by() -> None:
    images = edges()
    net, features = coates(images, MEAN, STD)
    plain, same = coates(images, [0.0] * 3, [1 / 255] * 3)
    assert torch.equal(net.code.centroids, plain.code.centroids)
    torch.testing.assert_close(features, same, rtol=1e-3, atol=0.02)
    assert float(features.std()) > 1


def test_the_centroids_are_means_of_the_whitened_patches_nearest_to_them() -> None:
    images, init = edges(), KMeansPatchesInit(n_patches=3000, n_iter=100)
    net, _ = coates(images, MEAN, STD, n_iter=100)
    view = FeatureView(32, 32, [0.0] * 3, [1 / 255] * 3)
    patches = random_patches(init, images, view, lambda batch: batch, 6, seed=1).double().numpy()
    normal = np.array([normalised(patch, 10.0) for patch in patches])
    mean, matrix = zca(normal, 0.1)
    z = torch.from_numpy((normal - mean) @ matrix)
    centroids = net.code.centroids.double()
    nearest = torch.cdist(z, centroids).argmin(dim=1)
    means = torch.stack([z[nearest == k].mean(dim=0) for k in range(12)])
    torch.testing.assert_close(means, centroids, atol=1e-3, rtol=0)


TWO: dict[str, Any] = {"n_filters": 12, "layers": 2, "n_groups": 3, "group_size": 5, "group_filters": 4}


def two_layers(images: MemoryImages, seed: int = 1, **settings: Any) -> tuple[Coates, list[str]]:
    net = Coates(3, 32, **TWO)
    told = KMeansPatchesInit(**{"n_patches": 3000, **settings}).apply(net, card=card(images), images=images, seed=seed)
    return net, told


def test_a_second_layer_leaves_the_first_as_it_is_alone() -> None:
    one, two = coates(edges(), MEAN, STD)[0], two_layers(edges())[0]
    assert all(torch.equal(tensor, two.state_dict()[name]) for name, tensor in one.state_dict().items())


def test_groups_are_the_twins_and_their_centroids_directions_of_their_own_whitened_patches() -> None:
    images, seed = edges(), mix(1, "layer 2")
    net, told = two_layers(images, n_iter=100)
    assert net.second is not None
    assert "; 12 of 3 groups of 5 maps from 3,000 patches of 60 images" in told[0]
    pooled = net.taps(FeatureView(32, 32, MEAN, STD)(images.images), {"conv1": nn.AvgPool2d(3)})["conv1"]
    init = KMeansPatchesInit(n_patches=3000, n_images=60)
    batches = iter(pooled.split(IMAGES_PER_BATCH))
    patches = random_patches(init, images, FeatureView(32, 32, MEAN, STD), lambda _: next(batches), 2, seed)
    maps = patches.double().numpy().reshape(3000, 12, 4)
    pairs = [[dependence(maps[:, j, 0], maps[:, k, 0]) if j != k else 9.0 for k in range(12)] for j in range(12)]
    for group, code in zip(net.second.groups.numpy(), net.second.codes, strict=True):
        assert set(group) == set(np.argsort(pairs[group[0]])[-5:])
        of_group = maps[:, group].reshape(3000, -1)
        contrast = 0.01 * of_group.var(axis=1).mean()
        assert float(code.contrast) == pytest.approx(contrast, rel=1e-4)
        normal = np.array([normalised(patch, contrast) for patch in of_group])
        mean, matrix = zca(normal, 1.0)
        np.testing.assert_allclose(code.whitening.numpy(), matrix, atol=2e-3)
        z, centroids = torch.from_numpy((normal - mean) @ matrix), code.centroids.double()
        nearest = torch.cdist(z, centroids).argmin(dim=1)
        directions = nn.functional.normalize(torch.stack([z[nearest == k].sum(dim=0) for k in range(4)]), dim=1)
        torch.testing.assert_close(centroids, directions, atol=5e-3, rtol=0)


def test_two_layers_are_a_function_of_the_seed_and_the_images() -> None:
    images = edges()
    torch.manual_seed(3)
    one, _ = two_layers(images)
    torch.manual_seed(4)
    again, other = two_layers(images)[0], two_layers(images, seed=2)[0]
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in one.state_dict().items())
    assert one.second is not None and other.second is not None
    assert not torch.equal(one.second.codes[0].centroids, other.second.codes[0].centroids)


def test_patches_of_all_maps_stay_within_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch_filters, "SAMPLE_BYTES", 100 * 12 * 4 * 4)
    _, told = two_layers(edges())
    assert "groups of 5 maps from 100 patches of 25 images" in told[0]
    monkeypatch.setattr(patch_filters, "SAMPLE_BYTES", 3 * 12 * 4 * 4)
    with pytest.raises(ValueError, match=r"arch.group_filters=4 is more than the 3 patches of all arch.n_filters=12"):
        two_layers(edges())


def test_groups_of_the_same_maps_have_filters_of_their_own() -> None:
    net = Coates(3, 32, n_filters=6, layers=2, n_groups=2, group_size=6, group_filters=4)
    KMeansPatchesInit(n_patches=1000).apply(net, card=card(edges()), images=edges(), seed=1)
    assert net.second is not None
    one, other = (
        code.centroids.view(4, 6, -1)[:, group.argsort()]  # in the order of the maps
        for group, code in zip(net.second.groups, net.second.codes, strict=True)
    )
    alike = torch.cdist(one.flatten(1), other.flatten(1))
    assert float(alike.min(dim=1).values.max()) > 1e-3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch_size": 6}, r"init.patch_size=6 does not fit the layer's kernel of 3x3; .* set it to 3"),
        ({"n_patches": 47}, r"init.n_patches=47 is less than the 48 filters"),
    ],
)
def test_settings_that_do_not_fit_the_layer_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        started(SmallAlexNet(3, feature_dim=8, hidden=8), edges(), **settings)


def test_images_without_contrast_are_refused() -> None:
    images = edges(channels=1)
    images.images[:] = 9
    with pytest.raises(ValueError, match=r"needs at least 6 patches with contrast.*; 0 of init.n_patches=2000"):
        started(LeNet5(1), images)


@pytest.mark.parametrize("start", ["images", "noise"])
@pytest.mark.parametrize("grey", [lambda i: 9, lambda i: i])  # one for all images, one for each
def test_coates_is_refused_images_without_contrast(start: str, grey: Callable[[int], int]) -> None:
    images = edges()
    for i in range(len(images)):
        images.images[i] = grey(i)
    with pytest.raises(ValueError, match=r"nothing to learn from 3,000 patches of these images, as all are flat"):
        coates(images, MEAN, STD, start=start)


def test_layers_that_cannot_take_filters_are_refused() -> None:
    net = LeNet5(3)
    net.features.conv1[0] = nn.Conv2d(3, 6, (5, 3))
    with pytest.raises(ValueError, match=r"cannot give features.conv1.0 its filters: it needs one square kernel"):
        started(net, edges())
    none = LeNet5(3)
    none.features, none.neck = nn.Sequential(), nn.Sequential(nn.Flatten(), nn.Linear(3072, 4))
    with pytest.raises(ValueError, match="no convolution"):
        started(none, edges())


def test_coates_is_refused_what_it_cannot_do() -> None:
    images, net = edges(), Coates(3, 32, n_filters=12)
    with pytest.raises(ValueError, match=r"init.fold=true cannot be used with arch=coates"):
        KMeansPatchesInit(fold=True).apply(net, card=card(images), images=images, seed=1)
    with pytest.raises(ValueError, match="set init=kmeans_patches"):
        RandomInit().apply(net, card=card(images), images=images, seed=1)


@pytest.mark.parametrize("name", ["n_patches", "n_images", "n_iter", "contrast", "epsilon"])
def test_wrong_settings_are_refused_with_their_key(name: str) -> None:
    with pytest.raises(ValueError, match=f"init.{name} must be"):
        KMeansPatchesInit(**{name: 0})


def test_the_first_layer_is_the_one_that_runs_first_and_nothing_else_changes() -> None:
    class Twisted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.second, self.first, self.norm = nn.Conv2d(4, 4, 3), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.second(self.first(self.norm(x)))
            return result

    net = LeNet5(3)
    twisted = Twisted()
    net.features = nn.Sequential(twisted)
    twisted.second.eval()
    images = torch.randn(2, 3, 32, 32)
    name, conv, seen = first_layer(net, images)
    assert name == "features.0.first" and conv is twisted.first
    torch.testing.assert_close(seen, images / (1 + 1e-5) ** 0.5)
    assert int(twisted.norm.num_batches_tracked) == 0 and net.training and not twisted.second.training
    assert not conv._forward_pre_hooks


def test_timm_networks_get_filters_too() -> None:
    pytest.importorskip("timm")
    from deepcluster.models.timm_model import timm_backbone

    torch.manual_seed(0)
    net = timm_backbone("resnet10t", 3, 64)
    before = first_layer(net, torch.zeros(1, 3, 64, 64))[1].weight.detach().clone()
    conv, _ = started(net, edges(size=64))
    assert conv.weight.shape == before.shape and not torch.allclose(conv.weight.detach(), before)


def test_k_means_from_noise_is_the_plain_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    patches = torch.randn(3000, 6, generator=generator)
    patches[0] = 60.0  # one far from all others
    k, n_iter, seed = 12, 15, 4
    found = lloyd_from_noise(patches, k, n_iter=n_iter, seed=seed)
    x = patches.double().numpy()
    c = 0.1 * torch.randn(k, 6, generator=torch.Generator().manual_seed(seed)).double().numpy()
    for _ in range(n_iter):
        labels = ((x[:, None] - c[None]) ** 2).sum(2).argmin(1)
        c = np.array([x[labels == i].mean(0) if (labels == i).any() else np.zeros(6) for i in range(k)])
    np.testing.assert_allclose(found.numpy(), c, atol=1e-4)
    lengths = lloyd_from_noise(patches, k, n_iter=3, seed=seed, spherical=True).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(k))


def test_an_unknown_start_is_refused() -> None:
    with pytest.raises(ValueError, match=r"init.start must be one of images, noise, got 'zeros'"):
        KMeansPatchesInit(start="zeros")


def test_memory_by_hand() -> None:
    settings = KMeansPatchesInit(n_patches=10_000)
    one, two = Coates(3, 16, n_filters=40), Coates(3, 16, n_filters=48, layers=2, group_size=12)
    assert settings.learning_bytes(one, card(edges(), 16)) == 5 * 10_000 * 108 * 4
    sample, parts = 10_000 * 192 * 4, 48 * 8 * (24 * 48 + 4 * 8192)  # more than the sample, or 5 times a quarter of it
    first = 10_000 * 108 * 4
    assert settings.learning_bytes(two, card(edges(), 16)) == max(5 * first, first + sample + parts)
    paper = KMeansPatchesInit(n_patches=400_000).learning_bytes(Coates(layers=2), card(edges(), 32))
    assert paper == pytest.approx(400_000 * 108 * 4 + 2 * 2**30, rel=1e-3)  # a sample at its limit, while it is joined
    assert settings.learning_bytes(LeNet5(1), card(edges(channels=1), 28)) == 5 * 10_000 * 25 * 4
    assert RandomInit().learning_bytes(one, card(edges(), 16)) == 0


MEASURE = """
import ctypes
import os
import torch
from support.edges import card, edges
from deepcluster.models.alexnet import AlexNet
from deepcluster.models.coates import Coates
from deepcluster.system.machine import peak_memory, reset_peak_memory, used_memory
from deepcluster.weights.start import KMeansPatchesInit

def measure(name, backbone, n_patches):
    images = edges(size=backbone.image_size)
    described = card(images, backbone.image_size)
    KMeansPatchesInit(n_patches=2000, n_iter=1).apply(backbone, card=described, images=images, seed=0)
    if not reset_peak_memory():
        return
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # what the first time left would hide what the second takes
    reset_peak_memory()
    before = used_memory()
    settings = KMeansPatchesInit(n_patches=n_patches, n_iter=1)
    settings.apply(backbone, card=described, images=images, seed=0)
    print(name, peak_memory() - before, settings.learning_bytes(backbone, described), sep=",", flush=True)

for name, backbone, n_patches in [
    ("one layer", lambda: Coates(3, 16, n_filters=50), 400_000),
    ("two layers", lambda: Coates(3, 16, n_filters=400, layers=2, n_groups=2), 40_000),
    ("many maps", lambda: Coates(3, 16, n_filters=1600, layers=2, n_groups=2), 4_000),
    ("convolution", lambda: AlexNet(3, 224), 100_000),
]:
    process = os.fork()  # each in a process of its own, which has the libraries that this one imported
    if process == 0:
        measure(name, backbone(), n_patches)
        os._exit(0)
    assert os.waitpid(process, 0)[1] == 0, name
"""


@pytest.mark.slow
def test_memory_is_what_a_process_grows_by() -> None:
    tests = Path(__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent / "src")])}
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True, env=env)
    if not done.stdout:
        pytest.skip("this kernel does not tell a process's peak")
    found = [line.split(",") for line in done.stdout.splitlines()]
    assert len(found) == 4
    wrong = [
        name for name, measured, computed in found if not 0.75 * int(measured) < float(computed) < 1.5 * int(measured)
    ]
    assert not wrong, found
