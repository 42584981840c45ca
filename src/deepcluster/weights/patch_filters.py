"""Learn the filters of the first layer, or the Coates network, from patches by k-means: `init=kmeans_patches`.

images -> random patches of the layer's input -> normalised, ZCA-whitened -> k-means -> filters. models/patches.py holds
the maths of patches, clustering/kmeans.py the k-means.
"""

import copy
import time
from collections.abc import Callable
from dataclasses import replace
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.kmeans_torch import lloyd_from_noise
from deepcluster.data.images import ImageSet, MemoryImages
from deepcluster.data.loader import feature_batches
from deepcluster.data.views import FeatureView
from deepcluster.models.backbone import Backbone
from deepcluster.models.coates import PATCH_OF_MAPS, Coates, GroupCode, PatchCode
from deepcluster.models.first_layer import first_layer
from deepcluster.models.patches import ROWS, Whitening, cut, folded, normalise_contrast, scaled_like
from deepcluster.system.seeding import generator, mix
from deepcluster.system.threads import n_cores
from deepcluster.weights.patch_settings import PatchSettings
from deepcluster.weights.receptive_fields import dependence, groups_of_maps

IMAGES_PER_BATCH = 64
# Least variance of a patch, in grey levels squared. Where one pixel of 11x11x3 differs by one grey level, it is 0.0027.
FLAT = 0.001
COPIES = 5  # of all patches, in memory at a time: measured, 4.2 for a Coates network and 5.9 for a convolution
# Of a second layer:
SAMPLE_BYTES = 2**30  # at most, for patches of all maps: 41,943 of 1,600 maps
PAIR_MATRICES = 24  # (K, K) float64, in memory at a time while the dependence of K maps is computed: measured
PER_IMAGE = 4  # patches: the first layer's maps of an image cost more than cutting them
CONTRAST = 0.01  # added to a patch's variance, of the mean variance of the group's patches
EPSILON = 1.0  # in place of init.epsilon: most of the hundreds of directions vary little, and would only add noise


def learn_from_patches(
    settings: PatchSettings,
    backbone: Backbone,
    *,
    card: dict[str, Any],
    images: ImageSet,
    seed: int,
    device: torch.device | str = "cpu",
) -> str:
    """Learn the centroids of a Coates network, or the first convolution's filters of another, in place.

    Args:
        card: the network's description (checkpoint.py).
        device: where patches are whitened and clustered.

    Returns:
        A line for the user: what was learned, from how many patches.

    Raises:
        ValueError: if the settings do not suit the network, or too few patches have contrast.
    """
    started = time.perf_counter()
    device = torch.device(device)
    if device.type != "cuda":  # mps has no float64, in which sums are taken
        device = torch.device("cpu")
    if isinstance(backbone, Coates):
        learned = _coates(settings, backbone, card, images, seed, device)
    else:
        learned = _first_layer(settings, backbone, card, images, seed, device)
    return f"kmeans_patches: {learned}, {time.perf_counter() - started:.1f} s"


def learning_bytes(settings: PatchSettings, backbone: Backbone, card: dict[str, Any]) -> float:
    """Bytes of memory that :func:`learn_from_patches` takes beside the images, but for blocks of a fixed size.

    Raises:
        ValueError: if the network has no layer that could learn.
    """
    if not isinstance(backbone, Coates):
        return COPIES * 4.0 * settings.n_patches * layer_to_fill("kmeans_patches", backbone, card)[1].weight[0].numel()
    first = 4.0 * settings.n_patches * len(backbone.code.mean)
    if backbone.second is None:
        return COPIES * first
    n_maps, group_size = backbone.code.n_filters, backbone.second.groups.shape[1]
    n_patches = _of_second_layer(settings, n_maps).n_patches
    sample = 4.0 * n_patches * n_maps * PATCH_OF_MAPS**2
    pairs = 8.0 * n_maps * (PAIR_MATRICES * n_maps + 4 * min(ROWS, n_patches))
    # beside the first layer's patches and the sample: its parts, while they are joined; then the others
    most = max(sample, pairs, COPIES * sample * group_size / n_maps)
    return max(COPIES * first, first + sample + most)


def _coates(
    settings: PatchSettings, backbone: Coates, card: dict[str, Any], images: ImageSet, seed: int, device: torch.device
) -> str:
    """Learn from patches in grey levels, so without the run's normalisation of images."""
    code = backbone.code
    if not settings.normalise or settings.fold:
        name = "fold=true" if settings.fold else "normalise=false"
        raise ValueError(
            f"init.{name} cannot be used with arch=coates, which normalises and whitens every patch; leave it out"
        )
    _check(settings, code.patch_size, code.n_filters)
    if backbone.second is not None:
        second, n_centroids = _of_second_layer(settings, code.n_filters), backbone.second.group_filters
        if second.n_patches < min(n_centroids, settings.n_patches):
            raise ValueError(
                f"arch.group_filters={n_centroids} is more than the {second.n_patches:,} patches of all "
                f"arch.n_filters={code.n_filters} maps that the second layer learns from, at most 1 GB; lower either"
            )
        _check(second, PATCH_OF_MAPS, n_centroids)
    n_channels = code.in_channels
    grey = _view(images, card, mean=[0.0] * n_channels, std=[1 / 255] * n_channels)
    patches = random_patches(settings, images, grey, lambda batch: batch, code.patch_size, seed).to(device)
    _learn_code(settings, code, patches, settings.contrast, seed)
    code.see(card["mean"], card["std"])
    learned = (
        f"{code.n_filters} centroids of {_shape(code.patch_size, n_channels)} {_source(settings, patches, images)}"
    )
    if backbone.second is None:
        return learned
    return f"{learned}; {_second_layer(second, backbone, backbone.second, card, images, seed, device)}"


def _second_layer(
    settings: PatchSettings,
    backbone: Coates,
    code: GroupCode,
    card: dict[str, Any],
    images: ImageSet,
    seed: int,
    device: torch.device,
) -> str:
    """Choose the groups of maps and learn the filters of each, from one sample of patches of all maps."""
    n_maps, (n_groups, group_size) = backbone.code.n_filters, code.groups.shape
    seed, first = mix(seed, "layer 2"), copy.deepcopy(backbone).to(device)  # the network stays where it is
    view = _view(images, card, mean=card["mean"], std=card["std"])
    patches = random_patches(
        settings, images, view, lambda batch: first.pooled(batch.to(device)), PATCH_OF_MAPS, seed
    ).view(-1, n_maps, PATCH_OF_MAPS**2)
    code.groups.copy_(groups_of_maps(dependence(patches[:, :, 0]), n_groups, group_size, seed))
    for number, (group, part) in enumerate(zip(code.groups, code.codes, strict=True)):
        assert isinstance(part, PatchCode)
        of_group = patches[:, group.to(device)].flatten(1)
        contrast = CONTRAST * float(of_group.var(dim=1, unbiased=False).mean())
        _learn_code(settings, part, of_group, contrast, mix(seed, "group", number))
    n_filters = n_groups * code.group_filters
    return f"{n_filters} of {n_groups} groups of {group_size} maps {_source(settings, patches, images)}"


def _of_second_layer(settings: PatchSettings, n_maps: int) -> PatchSettings:
    """Fewer patches and images, as patches of all maps are large and an image's maps take long; a spherical k-means.

    Of whitened patches with hundreds of numbers, the mean of many is short and that of few is long: distances to plain
    centroids would tell their lengths more than their directions (Coates and Ng 2012).
    """
    n_patches = min(settings.n_patches, SAMPLE_BYTES // (4 * n_maps * PATCH_OF_MAPS**2))
    n_images = min(settings.n_images, ceil(n_patches / PER_IMAGE))
    return replace(settings, n_patches=n_patches, n_images=n_images, patch_size=None, epsilon=EPSILON, spherical=True)


def _learn_code(settings: PatchSettings, code: PatchCode, patches: Tensor, contrast: float, seed: int) -> None:
    """Learn whitening and centroids from patches (n, d)."""
    patches = normalise_contrast(patches, contrast)
    whitening = Whitening.fit(patches, settings.epsilon)
    centroids = _centroids(settings, whitening.apply(patches), code.n_filters, seed)
    if not bool(centroids.any()):
        raise ValueError(
            f"k-means has nothing to learn from {len(patches):,} patches of these images, as all are flat or alike; "
            "check the images"
        )
    code.learn(centroids, whitening, contrast=contrast)


def _first_layer(
    settings: PatchSettings, backbone: Backbone, card: dict[str, Any], images: ImageSet, seed: int, device: torch.device
) -> str:
    name, conv = layer_to_fill("kmeans_patches", backbone, card)
    height, n_filters = conv.kernel_size[0], conv.out_channels
    _check(settings, height, n_filters)
    patches = patches_seen(settings, backbone, card, images, height, seed).to(device)
    # A grey level, the unit of init.contrast, is 1 / (255 std) in normalised images; std differs little by channel.
    contrast = settings.contrast / (255 * sum(card["std"]) / len(card["std"])) ** 2
    # Patches without contrast (the black around a garment) would only take up centroids.
    with_contrast = patches[patches.var(dim=1, unbiased=False) > FLAT * contrast / settings.contrast]
    if len(with_contrast) < n_filters:
        raise ValueError(
            f"init=kmeans_patches needs at least {n_filters} patches with contrast, one for each filter of {name}; "
            f"{len(with_contrast)} of init.n_patches={settings.n_patches} have any. Raise it or use init=random"
        )
    learned = normalise_contrast(with_contrast, contrast) if settings.normalise else with_contrast
    whitening = Whitening.fit(learned, settings.epsilon)
    centroids = _centroids(settings, whitening.apply(learned), n_filters, seed)
    fill(conv, folded(centroids, whitening, centred=settings.normalise) if settings.fold else centroids, patches)
    flat = 1 - len(with_contrast) / len(patches)
    done = f"{name}'s {n_filters} filters of {_shape(height, conv.in_channels)} {_source(settings, patches, images)}"
    return done + (f", {flat:.0%} of them flat and left out" if flat >= 0.005 else "")


def layer_to_fill(init: str, backbone: Backbone, card: dict[str, Any]) -> tuple[str, nn.Conv2d]:
    """The convolution that runs first, and its name.

    Raises:
        ValueError: if it is none that this kind of init can give filters; names the kind.
    """
    size = int(card["image_size"])
    name, conv, maps = first_layer(backbone, torch.zeros(1, int(card["in_channels"]), size, size))
    height, width = conv.kernel_size
    if height != width or conv.groups != 1 or conv.dilation != (1, 1) or min(height, *maps.shape[2:]) != height:
        raise ValueError(
            f"init={init} cannot give {name} its filters: it needs one square kernel over all channels, "
            f"without dilation, inside {maps.shape[2]}x{maps.shape[3]} pixels, got {conv}; use init=random"
        )
    return name, conv


def patches_seen(
    settings: PatchSettings, backbone: Backbone, card: dict[str, Any], images: ImageSet, size: int, seed: int
) -> Tensor:
    """Patches (n, d) of the first convolution's input, d being channels x size x size."""
    view = _view(images, card, mean=card["mean"], std=card["std"])
    return random_patches(settings, images, view, lambda batch: first_layer(backbone, batch)[2], size, seed)


@torch.no_grad()
def fill(conv: nn.Conv2d, filters: Tensor, patches: Tensor) -> None:
    """Set a convolution's filters to these (K, d), at the scale that its own have on patches (n, d); its bias to 0."""
    before = conv.weight.detach().flatten(1).to(patches.device)
    conv.weight.copy_(scaled_like(filters, before, patches).view_as(conv.weight))
    if conv.bias is not None:
        conv.bias.zero_()


def _check(settings: PatchSettings, kernel: int, n_filters: int) -> None:
    if settings.patch_size not in (None, kernel):
        raise ValueError(
            f"init.patch_size={settings.patch_size} does not fit the layer's kernel of {kernel}x{kernel}; "
            f"leave it out, or set it to {kernel}"
        )
    if settings.n_patches < n_filters:
        raise ValueError(
            f"init.n_patches={settings.n_patches} is less than the {n_filters} filters to learn; raise it to a hundred "
            "patches a filter"
        )


def random_patches(
    settings: PatchSettings, images: ImageSet, view: FeatureView, see: Callable[[Tensor], Tensor], size: int, seed: int
) -> Tensor:
    """settings.n_patches patches (n, d) at random places of random images.

    Args:
        see: images of the view (B, C, H, W) -> the maps that patches are cut from.
        size: side of a patch.
    """
    random = generator(seed, "patches")
    n_images = min(settings.n_images, len(images))
    chosen = torch.randperm(len(images), generator=random)[:n_images].sort().values
    n_by_image = torch.bincount(torch.arange(settings.n_patches) % n_images, minlength=n_images)  # differ by at most 1
    places = torch.rand(settings.n_patches, 2, generator=random)
    n_workers = 0 if isinstance(images, MemoryImages) else min(8, n_cores())
    parts, n_seen, n_cut = [], 0, 0
    for batch in feature_batches(images, view, chosen, batch_size=IMAGES_PER_BATCH, num_workers=n_workers):
        maps = see(view(batch.images))
        n_batch = len(batch.indices)
        which = torch.arange(n_batch).repeat_interleave(n_by_image[n_seen : n_seen + n_batch])
        room = torch.tensor([maps.shape[2] - size + 1, maps.shape[3] - size + 1])
        where = (places[n_cut : n_cut + len(which)] * room).long()
        parts.append(cut(maps, torch.cat([which.unsqueeze(1), where], dim=1), size))
        n_seen, n_cut = n_seen + n_batch, n_cut + len(which)
    return torch.cat(parts)


def _centroids(settings: PatchSettings, whitened: Tensor, k: int, seed: int) -> Tensor:
    seed = mix(seed, "patches", "k-means")
    if settings.start == "noise":
        return lloyd_from_noise(whitened, k, n_iter=settings.n_iter, seed=seed, spherical=settings.spherical)
    kmeans = KMeans(k=k, n_iter=settings.n_iter, spherical=settings.spherical)
    return kmeans.fit(whitened, seed=seed, device=whitened.device).centroids.to(whitened.device)


def _source(settings: PatchSettings, patches: Tensor, images: ImageSet) -> str:
    return f"from {len(patches):,} patches of {min(settings.n_images, len(images)):,} images"


def _view(images: ImageSet, card: dict[str, Any], *, mean: list[float], std: list[float]) -> FeatureView:
    on_files = not isinstance(images, MemoryImages)
    return FeatureView(card["image_size"], card["resize"], mean, std, on_files=on_files)


def _shape(side: int, n_channels: int) -> str:
    return f"{side}x{side}x{n_channels}"
