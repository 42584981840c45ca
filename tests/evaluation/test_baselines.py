"""Pixels and patches, the alternatives that need no training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.reduction import Reduction
from deepcluster.data.images import MemoryImages
from deepcluster.data.view_settings import View
from deepcluster.data.views import FeatureView, train_view
from deepcluster.evaluation.baselines import Baselines, SmallImages, best, run_clusters, spaces
from deepcluster.evaluation.probe.knn import knn_accuracy
from deepcluster.evaluation.probe.labelled_split import labelled_split
from deepcluster.evaluation.probe.recipes import Knn, LinearProbe
from deepcluster.evaluation.probe.representation import Evaluation

SIDE = 10
SETTINGS = Evaluation(knn=Knn(k=5), linear_probe=LinearProbe(epochs=2, learning_rates=[0.1]))


def pictures(n: int = 80, *, labelled: bool = True, side: int = SIDE, channels: int = 1) -> MemoryImages:
    """Bars across or along, in noise."""
    draw = torch.Generator().manual_seed(3)
    labels = torch.arange(n) % 2
    bars = 100 * (torch.arange(side) % 4 < 2)
    both = torch.stack([bars.view(1, 1, -1).expand(1, side, side), bars.view(1, -1, 1).expand(1, side, side)])
    pixels = (both[labels] + torch.randint(0, 100, (n, 1, side, side), generator=draw)).to(torch.uint8)
    return MemoryImages(
        images=pixels.expand(-1, channels, -1, -1).contiguous(),
        samples=[f"train/{i}" for i in range(n)],
        labels=labels if labelled else None,
    )


def baselines(images: MemoryImages, settings: Evaluation = SETTINGS) -> Baselines:
    n = images.n_channels
    return Baselines(
        images=images,
        split=labelled_split(images, None, max_images=settings.max_images, test_share=0.25, seed=1),
        view=FeatureView(SIDE, None, [0.5] * n, [0.25] * n),
        crop=train_view(View(size=SIDE), images, [0.5] * n, [0.25] * n),
        mean=[0.5] * n,
        std=[0.25] * n,
        k=4,
        settings=settings,
        seed=1,
        batch_size=32,
        num_workers=0,
        device=torch.device("cpu"),
    )


def cosine_knn(train_x: np.ndarray, train_y: np.ndarray, test_x: np.ndarray, test_y: np.ndarray) -> float:
    """Vote of five neighbours, each weighing exp(cosine / 0.07), by scikit-learn."""

    def weigh(distances: np.ndarray) -> np.ndarray:
        return np.exp((1 - distances) / 0.07)

    knn = KNeighborsClassifier(5, metric="cosine", weights=weigh).fit(train_x, train_y)
    return float(knn.score(test_x, test_y))


def test_pixels_have_the_better_k_nn_of_plain_and_whitened_ones() -> None:
    images = pictures()
    measuring = baselines(images)
    split = measuring.split
    assert split is not None and images.labels is not None
    flat = images.images.flatten(1).numpy() / 255
    train, test = flat[split.train_indices], flat[split.test_indices]
    pca = PCA(min(59, 100), whiten=True, svd_solver="full").fit(train)
    labels = split.train_y.numpy(), split.test_y.numpy()
    expected = [cosine_knn(a, labels[0], b, labels[1]) for a, b in ((train, test), map(pca.transform, (train, test)))]
    found = [
        knn_accuracy(one, split.train_y, other, split.test_y, Knn(k=5))
        for one, other in spaces("pixels", torch.from_numpy(train), torch.from_numpy(test))
    ]
    assert found == pytest.approx(expected)
    assert measuring.measure().figures["pixels"]["knn_accuracy"] == pytest.approx(max(expected))


def test_patches_are_the_same_for_the_same_seed() -> None:
    one, two = (baselines(pictures()).measure() for _ in range(2))
    assert one.figures == two.figures and one.rows is not None and two.rows is not None
    assert torch.equal(one.rows, two.rows) and one.rows.shape == (80, 100 + 4 * 256)
    other = replace(baselines(pictures()), seed=2).measure()
    assert other.rows is not None and not torch.equal(one.rows[:, one.columns["patches"]], other.rows[:, 100:])
    assert one.figures["patches"]["knn_accuracy"] > 0.8  # bars are what patches see


def test_the_random_state_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    baselines(pictures()).measure()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_runs_own_clustering_sees_pixels_and_patches() -> None:
    images = pictures()
    measured = baselines(images).measure()
    assert images.labels is not None
    figures = run_clusters(
        measured,
        images.labels,
        clustering=KMeans(k=4),
        reduction=Reduction(dim=200),  # more than pixels: all are taken
        nmi_average="arithmetic",
        seed=1,
        device=torch.device("cpu"),
    )
    assert figures.keys() == {"pixels", "patches"}
    assert all(numbers["k"] == 4 and numbers["nmi_previous"] > 0 for numbers in figures.values())


def test_of_many_images_a_share_is_measured_and_not_clustered() -> None:
    """NMI with K clusters of fewer images could not be compared with the run's."""
    few = replace(SETTINGS, max_images=20)
    measured = baselines(pictures(), few).measure()
    assert measured.rows is None and measured.figures["pixels"]["knn_accuracy"] > 0
    labels = pictures().labels
    assert labels is not None
    options = {"clustering": KMeans(k=4), "reduction": Reduction(), "nmi_average": "arithmetic", "seed": 1}
    assert run_clusters(measured, labels, device=torch.device("cpu"), **options) == {}  # type: ignore[arg-type]


def test_without_labels_two_crops_are_compared() -> None:
    figures = baselines(pictures(labelled=False)).measure().figures
    for numbers in (figures["pixels"], figures["patches"]):
        assert numbers.keys() == {"crops_nearest", "crops_nearest_whitened", "crops_together", "seeds_agree"}
        assert 1 / 80 < numbers["crops_nearest"] < 1


@pytest.mark.parametrize(("channels", "n_pixels"), [(1, 32 * 32), (3, 16 * 16 * 3)])
def test_coloured_pixels_are_shrunk(channels: int, n_pixels: int) -> None:
    small = SmallImages(channels, 32, 100)
    assert small.columns == {"pixels": slice(0, n_pixels), "patches": slice(n_pixels, n_pixels + 400)}


def test_images_too_small_for_patches_have_pixels_only() -> None:
    assert SmallImages(1, 7, 100).columns == {"pixels": slice(0, 49)}


def test_the_best_of_each_figure_is_taken_with_the_better_probes_rate() -> None:
    one = {"knn_accuracy": 0.5, "linear_probe_accuracy": 0.7, "linear_probe_lr": 0.1}
    two = {"knn_accuracy": 0.6, "linear_probe_accuracy": 0.6, "linear_probe_lr": 0.3}
    assert best([one, two]) == {"knn_accuracy": 0.6, "linear_probe_accuracy": 0.7, "linear_probe_lr": 0.1}
