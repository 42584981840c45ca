"""The first layer's filters, or Coates and Ng's network, learned from patches by k-means: `init=kmeans_patches`.

images -> random patches of what the layer sees -> normalised, ZCA-whitened -> k-means -> filters. The maths of patches
stands in models/patches.py, the k-means in clustering/kmeans.py. Next: run.py measures the network or trains it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.kmeans_torch import lloyd_from_noise
from deepcluster.data.images import ImageSet, MemoryImages
from deepcluster.data.loader import feature_batches
from deepcluster.data.views import FeatureView
from deepcluster.models.backbone import Backbone
from deepcluster.models.coates import Coates
from deepcluster.models.first_layer import first_layer
from deepcluster.models.patches import Whitening, cut, folded, normalise_contrast, scaled_like
from deepcluster.system.seeding import generator, mix
from deepcluster.system.threads import n_cores
from deepcluster.weights.start import CPU, Init

IMAGES_PER_BATCH = 64
# Grey levels squared. The least contrast of whole grey levels, one pixel of 11x11x3 by one level, has 0.0027.
FLAT = 0.001
STARTS = ("images", "noise")


@dataclass(kw_only=True)
class KMeansPatchesInit(Init):
    """The first convolution's filters: k-means centroids of normalised, ZCA-whitened patches (Coates et al. 2011).

    Patches are cut from what the layer sees: training images in the feature view, normalised, after Sobel if the
    network has it. arch=coates learns from patches in grey levels instead, as its papers do.

    Args:
        kind: "kmeans_patches".
        patch_size: side of the patches; null: the layer's kernel, which is the only size that fits.
        n_patches: patches to learn from.
        n_images: they come from at most so many images, drawn by the seed: files are decoded for it.
        normalise: subtract each patch's mean and divide by its contrast.
        contrast: added to a patch's variance, in squared grey levels of 0..255, before its root divides the patch.
        epsilon: added to the variance in each direction by the whitening; normalised patches have about 1 on average.
        fold: false: the centroids are the filters, as the papers show them. true: filters that answer to patches as
            the centroids do to whitened ones; they whiten too, and so weigh fine detail more.
        n_iter: iterations of k-means.
        start: of k-means: "images", random patches; "noise", small noise around 0, as in the code of the 2011 paper: it
            takes about 50 iterations, and no outlier starts as a centroid.
        spherical: keep centroids on the unit sphere, as in Coates and Ng 2012.
    """

    kind: str = "kmeans_patches"
    patch_size: int | None = None
    n_patches: int = 100_000
    n_images: int = 10_000
    normalise: bool = True
    contrast: float = 10.0  # Coates et al. 2011
    epsilon: float = 0.1  # Coates et al. 2011
    fold: bool = False
    n_iter: int = 10  # Coates and Ng 2012: 10 iterations are usually enough
    start: str = "images"
    spherical: bool = False

    def __post_init__(self) -> None:
        if self.start not in STARTS:
            raise ValueError(f"init.start must be one of {', '.join(STARTS)}, got {self.start}")
        for name in ("n_patches", "n_images", "n_iter"):
            if getattr(self, name) < 1:
                raise ValueError(f"init.{name} must be at least 1, got {getattr(self, name)}")
        if not self.contrast > 0:
            raise ValueError(f"init.contrast must be above 0, got {self.contrast}; flat patches have no variance")
        if not self.epsilon > 0:
            raise ValueError(
                f"init.epsilon must be above 0, got {self.epsilon}; in some directions patches have no variance"
            )

    def apply(
        self, backbone: Backbone, *, card: dict[str, Any], images: ImageSet, seed: int, device: torch.device = CPU
    ) -> list[str]:
        started = time.perf_counter()
        device = device if device.type == "cuda" else CPU  # sums are float64, which MPS does not have
        done = (
            self._coates(backbone, card, images, seed, device)
            if isinstance(backbone, Coates)
            else self._first_layer(backbone, card, images, seed, device)
        )
        return [f"kmeans_patches: {done}, {time.perf_counter() - started:.1f} s"]

    def _coates(self, backbone: Coates, card: dict[str, Any], images: ImageSet, seed: int, device: torch.device) -> str:
        """Centroids of patches in grey levels, whatever the data group normalises by."""
        code = backbone.code
        if not self.normalise or self.fold:
            name = "fold=true" if self.fold else "normalise=false"
            raise ValueError(
                f"init.{name} does not suit arch=coates, which normalises and whitens every patch it sees; leave it out"
            )
        self._check(code.patch_size, code.n_filters)
        n_channels = code.in_channels
        grey = _view(images, card, mean=[0.0] * n_channels, std=[1 / 255] * n_channels)
        patches = self._patches(images, grey, lambda batch: batch, code.patch_size, seed).to(device)
        patches = normalise_contrast(patches, self.contrast)
        whitening = Whitening.fit(patches, self.epsilon)
        centroids = self._centroids(whitening.apply(patches), code.n_filters, seed)
        code.learn(centroids, whitening, contrast=self.contrast, mean=card["mean"], std=card["std"])
        return f"{code.n_filters} centroids of {_shape(code.patch_size, n_channels)} {self._source(patches, images)}"

    def _first_layer(
        self, backbone: Backbone, card: dict[str, Any], images: ImageSet, seed: int, device: torch.device
    ) -> str:
        view = _view(images, card, mean=card["mean"], std=card["std"])
        size = int(card["image_size"])
        name, conv, maps = first_layer(backbone, torch.zeros(1, int(card["in_channels"]), size, size))
        height, width = conv.kernel_size
        if height != width or conv.groups != 1 or conv.dilation != (1, 1) or min(height, *maps.shape[2:]) != height:
            raise ValueError(
                f"init=kmeans_patches cannot give {name} its filters: it needs one square kernel over all channels, "
                f"without dilation, inside {maps.shape[2]}x{maps.shape[3]} pixels, got {conv}; use init=random"
            )
        n_filters = conv.out_channels
        self._check(height, n_filters)
        patches = self._patches(images, view, lambda batch: first_layer(backbone, batch)[2], height, seed).to(device)
        # The contrast's unit, a grey level, is 1 / (255 std) in what the view gives; channels differ little in it.
        contrast = self.contrast / (255 * sum(card["std"]) / len(card["std"])) ** 2
        # Patches without any contrast (the black around a garment) would take centroids and teach nothing.
        lively = patches[patches.var(dim=1, unbiased=False) > FLAT * contrast / self.contrast]
        if len(lively) < n_filters:
            raise ValueError(
                f"init=kmeans_patches needs at least {n_filters} patches with contrast, one for each filter of {name}; "
                f"{len(lively)} of init.n_patches={self.n_patches} have any. Raise it or use init=random"
            )
        learned = normalise_contrast(lively, contrast) if self.normalise else lively
        whitening = Whitening.fit(learned, self.epsilon)
        centroids = self._centroids(whitening.apply(learned), n_filters, seed)
        with torch.no_grad():
            before = conv.weight.detach().flatten(1).to(device)
            filters = folded(centroids, whitening, centred=self.normalise) if self.fold else centroids
            conv.weight.copy_(scaled_like(filters, before, patches).view_as(conv.weight))
            if conv.bias is not None:
                conv.bias.zero_()
        flat = 1 - len(lively) / len(patches)
        done = f"{name}'s {n_filters} filters of {_shape(height, conv.in_channels)} {self._source(patches, images)}"
        return done + (f", {flat:.0%} of them flat and left out" if flat >= 0.005 else "")

    def _check(self, kernel: int, n_filters: int) -> None:
        if self.patch_size not in (None, kernel):
            raise ValueError(
                f"init.patch_size={self.patch_size} does not fit the layer's kernel of {kernel}x{kernel}; "
                f"leave it out, or set it to {kernel}"
            )
        if self.n_patches < n_filters:
            raise ValueError(
                f"init.n_patches={self.n_patches} is less than the {n_filters} filters to learn; raise it to a hundred "
                "patches a filter"
            )

    def _patches(
        self, images: ImageSet, view: FeatureView, see: Callable[[Tensor], Tensor], size: int, seed: int
    ) -> Tensor:
        """n_patches patches (n, d) at random places of random images, of what `see` makes of the view."""
        random = generator(seed, "patches")
        n_images = min(self.n_images, len(images))
        chosen = torch.randperm(len(images), generator=random)[:n_images].sort().values
        n_here = torch.bincount(torch.arange(self.n_patches) % n_images, minlength=n_images)  # as equal as can be
        places = torch.rand(self.n_patches, 2, generator=random)
        n_workers = 0 if isinstance(images, MemoryImages) else min(8, n_cores())
        parts, n_seen, n_cut = [], 0, 0
        for batch in feature_batches(images, view, chosen, batch_size=IMAGES_PER_BATCH, num_workers=n_workers):
            maps = see(view(batch.images))
            n_batch = len(batch.indices)
            which = torch.arange(n_batch).repeat_interleave(n_here[n_seen : n_seen + n_batch])
            room = torch.tensor([maps.shape[2] - size + 1, maps.shape[3] - size + 1])
            where = (places[n_cut : n_cut + len(which)] * room).long()
            parts.append(cut(maps, torch.cat([which.unsqueeze(1), where], dim=1), size))
            n_seen, n_cut = n_seen + n_batch, n_cut + len(which)
        return torch.cat(parts)

    def _centroids(self, whitened: Tensor, k: int, seed: int) -> Tensor:
        seed = mix(seed, "patches", "k-means")
        if self.start == "noise":
            return lloyd_from_noise(whitened, k, n_iter=self.n_iter, seed=seed, spherical=self.spherical)
        settings = KMeans(k=k, n_iter=self.n_iter, spherical=self.spherical)
        return settings.fit(whitened, seed=seed, device=whitened.device).centroids.to(whitened.device)

    def _source(self, patches: Tensor, images: ImageSet) -> str:
        return f"from {len(patches):,} patches of {min(self.n_images, len(images)):,} images"


def _view(images: ImageSet, card: dict[str, Any], *, mean: list[float], std: list[float]) -> FeatureView:
    on_files = not isinstance(images, MemoryImages)
    return FeatureView(card["image_size"], card["resize"], mean, std, on_files=on_files)


def _shape(side: int, n_channels: int) -> str:
    return f"{side}x{side}x{n_channels}"
