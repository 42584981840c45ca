"""What needs no training, measured as the network is: `pixels`, and `patches` (Coates, Ng and Lee 2011).

Small images -> rows of pixels, and codes of whitened patches compared with k-means filters -> k-NN, probe, clusters.
A network that was worth its training beats them.
"""

import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepcluster.clustering.describe import describe
from deepcluster.clustering.method import Clustering
from deepcluster.clustering.reduction import Reduction
from deepcluster.data.images import ImageSet, MemoryImages, evenly_spaced, size_of_first
from deepcluster.data.views import FeatureView, TrainView
from deepcluster.evaluation.clusters.two_crops import two_crop_figures, two_crop_rows
from deepcluster.evaluation.probe.knn_and_probe import measure_rows
from deepcluster.evaluation.probe.labelled_split import LabelledSplit
from deepcluster.evaluation.probe.recipes import Knn
from deepcluster.evaluation.probe.representation import Evaluation
from deepcluster.features.extraction import FeaturePass, collect
from deepcluster.features.other_rows_pixels import averaged_side
from deepcluster.models.coates import Coates
from deepcluster.system.seeding import mix
from deepcluster.weights.patch_filters import learn_from_patches
from deepcluster.weights.patch_settings import PatchSettings

Figures = dict[str, dict[str, float]]  # "pixels", "patches" -> figures

SIDE = 32  # pixels, at most, of the small images
WHITENED = 128  # principal components of whitened pixels
PATCH = 6  # side of a patch, as in the paper
CODES = 600_000  # images x filters: a tenth of the embedded run's time
TIMED = 256  # rows, at least: of fewer, what does not grow with the rows would count too much
FILTERS = (100, 256)  # fewest and most
PATCHES_PER_FILTER = 250
IMAGES_OF_PATCHES = 2000


class SmallImages(nn.Module):
    """(B, C, S, S) in [0, 1] -> rows (B, M): pixels, then codes of patches.

    Args:
        in_channels: C.
        side: S.
        n_filters: of the codes; images of fewer than 8 pixels have no codes.
    """

    def __init__(self, in_channels: int, side: int, n_filters: int) -> None:
        super().__init__()
        self.in_channels, self.side = in_channels, side
        self.pixel_side = averaged_side(in_channels, side)
        self.coates = Coates(in_channels, side, n_filters, PATCH) if side >= PATCH + 2 else None

    def learn(self, images: ImageSet, view: FeatureView, *, seed: int, device: torch.device) -> None:
        """Learn the filters from patches of at most 2,000 of the images, seen in `view`."""
        if self.coates is None:
            return
        settings = PatchSettings(n_patches=PATCHES_PER_FILTER * self.coates.code.n_filters, n_images=IMAGES_OF_PATCHES)
        card = {
            "image_size": view.size,
            "resize": view.resize,
            "mean": [0.0] * self.in_channels,
            "std": [1.0] * self.in_channels,
        }
        learn_from_patches(settings, self.coates, card=card, images=images, seed=mix(seed, "baselines"), device=device)

    @property
    def columns(self) -> dict[str, slice]:
        """Name -> its numbers in a row."""
        n_pixels = self.in_channels * self.pixel_side**2
        patches = {} if self.coates is None else {"patches": slice(n_pixels, n_pixels + self.coates.feature_dim)}
        return {"pixels": slice(0, n_pixels), **patches}

    @property
    def dim(self) -> int:
        """M, numbers of a row."""
        n_codes: int = 0 if self.coates is None else self.coates.feature_dim
        return self.in_channels * self.pixel_side**2 + n_codes

    def forward(self, images: Tensor) -> Tensor:
        pixels = F.adaptive_avg_pool2d(images, self.pixel_side).flatten(1)
        return pixels if self.coates is None else torch.cat([pixels, self.coates(images)], dim=1)


@dataclass(kw_only=True)
class Measured:
    """Figures, and the rows (N, M) of all training images; rows are None if there are too many or no labels."""

    figures: Figures
    columns: dict[str, slice]
    rows: Tensor | None = None


@dataclass(kw_only=True)
class Baselines:
    """Measures pixels and patches on a run's images.

    Args:
        images: the N training images.
        split: the labelled ones; None: figures that need no labels are taken.
        view: of the network's features; the small images show the same part of a picture.
        crop: the training view; mean and std, of each channel, normalise it.
        k: clusters of the run.
        settings: the group `evaluation`.
        seed: of the run.
    """

    images: ImageSet
    split: LabelledSplit | None
    view: FeatureView
    crop: TrainView
    mean: list[float]
    std: list[float]
    k: int
    settings: Evaluation
    seed: int
    batch_size: int
    num_workers: int
    device: torch.device

    def measure(self) -> Measured:
        """The figures of both, but those of the run's own clustering (:func:`run_clusters`)."""
        small = self.network()
        small.learn(self.images, self.small_view(self.images), seed=self.seed, device=self.device)
        small.to(self.device).eval()
        return self._without_labels(small) if self.split is None else self._with_labels(small, self.split)

    def network(self) -> SmallImages:
        """The rows' network, whose filters are not learned yet; the more images, the fewer filters."""
        n_filters = min(FILTERS[1], max(FILTERS[0], CODES // self.n_coded))
        return SmallImages(self.images.n_channels, self.side, n_filters)

    @property
    def side(self) -> int:
        """Of the small images: not larger than the images are."""
        own = min(size_of_first(self.images)) or SIDE
        return min(SIDE, self.view.size, max(own, PATCH + 2))

    @property
    def n_coded(self) -> int:
        """The number of images of which rows are computed."""
        n_test = 0 if self.split is None else len(self.split.test_indices)
        return min(len(self.images), self.settings.max_images) + n_test

    def small_view(self, images: ImageSet) -> FeatureView:
        """The view of small images, in [0, 1]."""
        size = self.side
        resize = round(self.view.resize * size / self.view.size)
        n = images.n_channels
        return FeatureView(size, resize, [0.0] * n, [1.0] * n, on_files=not isinstance(images, MemoryImages))

    def feature_pass(self, small: SmallImages, images: ImageSet) -> FeaturePass:
        """The pass of a set of images through their network."""
        return FeaturePass(
            network=small,
            images=images,
            view=self.small_view(images),
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            device=self.device,
        )

    def image_seconds(self) -> float:
        """Seconds of an image's rows and figures, for an estimate: some images are measured with unlearned filters."""
        small = self.network()
        if small.coates is not None:
            small.coates.code.centroids.fill_(1.0)
        small.to(self.device).eval()
        chosen = torch.tensor(evenly_spaced(len(self.images), max(TIMED, 2 * self.batch_size)))
        collect(self.feature_pass(small, self.images), chosen[:2])  # the first call loads libraries
        started = time.perf_counter()
        rows = collect(self.feature_pass(small, self.images), chosen)
        if self.images.labels is not None:
            labels, knn = (
                torch.arange(len(rows)) % 10,
                replace(self.settings.knn, k=min(self.settings.knn.k, len(rows))),
            )
            for name, columns in small.columns.items():
                for space, _ in spaces(name, rows[:, columns], rows[:0, columns]):
                    self._figures(space, labels, space, labels, knn)
        return (time.perf_counter() - started) / len(rows)

    def _figures(self, train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, knn: Knn) -> dict[str, float]:
        return measure_rows(
            *(train_x, train_y, test_x, test_y),
            device=self.device,
            knn=knn,
            linear_probe=self.settings.linear_probe,
            seed=self.seed,
            nmi_average=self.settings.nmi_average,
        )

    def _with_labels(self, small: SmallImages, split: LabelledSplit) -> Measured:
        n, is_small = len(self.images), len(self.images) <= self.settings.max_images
        indices = torch.arange(n) if is_small else split.train_indices
        rows = collect(self.feature_pass(small, self.images), indices)
        train = rows[split.train_indices] if is_small else rows
        if is_small and split.test is self.images:
            test = rows[split.test_indices]
        else:
            test = collect(self.feature_pass(small, split.test), split.test_indices)

        knn, train_y, test_y = self.settings.knn, split.train_y, split.test_y
        found = {
            name: [
                self._figures(one, train_y, other, test_y, knn)
                for one, other in spaces(name, train[:, columns], test[:, columns])
            ]
            for name, columns in small.columns.items()
        }
        return Measured(
            figures={name: best(each) for name, each in found.items()},
            columns=small.columns,
            rows=rows if is_small else None,
        )

    def _without_labels(self, small: SmallImages) -> Measured:
        mean, std = (torch.tensor(each, device=self.device).view(-1, 1, 1) for each in (self.mean, self.std))

        def see(crops: Tensor) -> Tensor:
            whole: Tensor = small(F.adaptive_avg_pool2d(crops * std + mean, small.side))
            return whole

        rows = two_crop_rows(
            see,
            self.images,
            self.crop,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            device=self.device,
            seed=self.seed,
        )
        figures = {}
        for name, columns in small.columns.items():
            flat = rows[:, :, columns].flatten(0, 1)
            figures[name] = best(
                [
                    two_crop_figures(
                        space.view(2, rows.shape[1], -1), self.k, seed=self.seed, average=self.settings.nmi_average
                    )
                    for space, _ in spaces(name, flat, flat[:0])
                ]
            )
        return Measured(figures=figures, columns=small.columns)


def spaces(name: str, train_x: Tensor, test_x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The rows to measure: pixels as they are and whitened (PCA of the training images), patches as they are."""
    plain = [(train_x.contiguous(), test_x.contiguous())]
    dim = min(WHITENED, train_x.shape[1], len(train_x) - 1)
    if name != "pixels" or dim < 1:
        return plain
    fitted = Reduction(dim=dim, whiten=True, l2=False).fit_rows(train_x)
    return [*plain, (fitted.apply(train_x), fitted.apply(test_x))]


def best(each: list[dict[str, float]]) -> dict[str, float]:
    """The largest of each figure; the probe's rate is the better probe's."""
    figures = {name: max(numbers[name] for numbers in each) for name in each[0]}
    if "linear_probe_lr" in figures:
        probed = max(each, key=lambda numbers: numbers["linear_probe_accuracy"])
        figures["linear_probe_lr"] = probed["linear_probe_lr"]
    return figures


def run_clusters(
    measured: Measured,
    labels: Tensor,
    *,
    clustering: Clustering,
    reduction: Reduction,
    nmi_average: str,
    seed: int,
    device: torch.device,
) -> Figures:
    """Figures of the run's own reduction and clustering, with pixels and patches in place of features.

    As for the untrained network, `nmi_previous` compares the clusters of two seeds.

    Args:
        labels: (N,), -1 for images without one.
    """
    figures: Figures = {}
    for name, columns in measured.columns.items() if measured.rows is not None else ():
        assert measured.rows is not None
        rows = measured.rows[:, columns].contiguous()
        dim = None if reduction.dim is None else min(reduction.dim, rows.shape[1], len(rows) - 1)
        settings = replace(reduction, dim=dim, fit_images=None, epsilon=reduction.epsilon or 1e-6)
        reduced = settings.fit_rows(rows)
        first, second = (
            clustering.fit(reduced.apply(rows), seed=mix(seed, name, number), device=device) for number in (0, 1)
        )
        figures[name] = describe(second, first, labels, nmi_average)
    return figures
