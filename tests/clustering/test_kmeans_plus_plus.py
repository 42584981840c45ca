"""k-means++: the choice of a plain twin, its law, scikit-learn's quality, the same on several processes."""

import numpy as np
import pytest
import torch
from reference import clustering as plain
from scipy.stats import chisquare
from sklearn.cluster import kmeans_plusplus
from support.several import on_ranks
from torch import Tensor
from torch.nn.functional import normalize

from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.kmeans_plus_plus import choose_images, chosen_by
from deepcluster.clustering.ranks import Ranks
from deepcluster.clustering.share import Share

CPU = torch.device("cpu")


def mixture(n: int, n_components: int = 40, dim: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    centres = torch.randn(n_components, dim, generator=generator)
    members = torch.randint(n_components, (n,), generator=generator)
    return normalize(centres[members] + 0.3 * torch.randn(n, dim, generator=generator))


def alone(rows: Tensor) -> Share:
    return Share(rows, len(rows), Ranks(), CPU)


def potential(rows: Tensor, chosen: Tensor) -> float:
    return float(torch.cdist(rows, rows[chosen]).square().min(dim=1).values.sum())


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("n", [37, 2500])
def test_the_images_are_those_of_the_plain_twin(n: int, size: int) -> None:
    rows = mixture(n)
    numbers = torch.rand(12, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = on_ranks(size, lambda ranks: chosen_by(numbers, Share(rows[ranks.rank :: size], n, ranks, CPU)))
    expected = plain.kmeans_plus_plus(rows.double().numpy(), numbers.numpy())
    assert [one.tolist() for one in found if isinstance(one, Tensor)] == [expected] * size


def test_images_are_drawn_by_their_squared_distance() -> None:
    """Two of six: the first with probability 1/6, the second by its share of the squared distances to the first."""
    rows = torch.tensor([[0.0, 0], [1, 0], [3, 0], [0, 2], [5, 5], [0, 1]])
    squared = torch.cdist(rows, rows).square().double()
    law = (squared / squared.sum(dim=1, keepdim=True) / 6).flatten().numpy()
    n = 6000
    counts = np.zeros(36)
    for seed in range(n):
        first, second = choose_images(alone(rows), 2, 1, seed=seed).tolist()
        counts[6 * first + second] += 1
    assert (counts[law == 0] == 0).all()
    assert chisquare(counts[law > 0], n * law[law > 0]).pvalue > 1e-3


def test_the_start_is_as_good_as_scikit_learns_and_better_than_images_alike() -> None:
    rows, k, seeds = mixture(3000, n_components=60), 60, range(10)
    n_candidates = KMeans(k=k, start="kmeans++")._n_candidates(k)
    ours = [potential(rows, choose_images(alone(rows), k, n_candidates, seed=seed)) for seed in seeds]
    theirs = [potential(rows, torch.from_numpy(kmeans_plusplus(rows.numpy(), k, random_state=s)[1])) for s in seeds]
    alike = [potential(rows, torch.randperm(3000, generator=torch.Generator().manual_seed(s))[:k]) for s in seeds]
    assert np.mean(ours) == pytest.approx(np.mean(theirs), rel=0.03) and max(ours) < 0.8 * min(alike)


@pytest.mark.parametrize("backend", ["faiss", "torch"])
def test_k_means_ends_better_from_it(backend: str) -> None:
    rows = mixture(3000, n_components=60)
    ends = {
        start: np.mean([KMeans(k=60, start=start, backend=backend).fit(rows, seed=seed).objective for seed in range(5)])
        for start in ("images", "kmeans++")
    }
    assert ends["kmeans++"] < 0.97 * ends["images"]


def test_each_of_the_distinct_images_is_chosen_before_a_copy() -> None:
    rows = mixture(10)[torch.arange(300) % 10]
    chosen = choose_images(alone(rows), 15, 3, seed=2)
    assert len(set((chosen[:10] % 10).tolist())) == 10 and len(chosen) == 15
    assert KMeans(k=15, start="kmeans++").fit(rows, seed=1).k == 15  # repaired


def test_only_images_of_the_sample_are_chosen() -> None:
    rows = mixture(2500)
    sample = torch.randperm(2500, generator=torch.Generator().manual_seed(4))[:300]
    chosen = choose_images(alone(rows), 50, 3, seed=2, sample=sample)
    assert set(chosen.tolist()) <= set(sample.tolist()) and len(set(chosen.tolist())) == 50


def test_as_many_clusters_as_images_and_stored_halves() -> None:
    rows = mixture(50)
    assert KMeans(k=50, start="kmeans++").fit(rows, seed=1).k == 50
    assert KMeans(k=20, start="kmeans++").fit(rows.half(), seed=1).k == 20


def test_the_estimate_counts_the_candidates() -> None:
    plain_start, far = KMeans(k=1000), KMeans(k=1000, start="kmeans++")
    assert far.distances(5000) - plain_start.distances(5000) == 1000 * 5000 * 8  # 2 + int(ln 1000)
