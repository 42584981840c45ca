"""k-means over G ranks gives what one process gives; the ranks are threads here, processes in test_distributed.py."""

import pytest
import torch
from support.several import on_ranks
from torch import Tensor
from torch.nn.functional import normalize

from deepcluster.clustering import kmeans_faiss
from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.pic import PIC
from deepcluster.clustering.ranks import Ranks

BACKENDS = ["faiss", "torch"]


def mixture(n: int = 1001, dim: int = 16, n_components: int = 20) -> Tensor:
    """An N that neither 2 nor 3 nor 4 divides."""
    generator = torch.Generator().manual_seed(3)
    centres = torch.randn(n_components, dim, generator=generator)
    members = torch.randint(n_components, (n,), generator=generator)
    return normalize(centres[members] + 0.4 * torch.randn(n, dim, generator=generator))


def with_duplicates() -> Tensor:
    """Half of the images are one image: starts repeat it, and clusters are empty in the iterations and at the end."""
    features = mixture()
    features[:500] = features[0]
    return features


def on_shares(kmeans: KMeans, features: Tensor, size: int, seed: int = 5, start: Tensor | None = None) -> Assignment:
    """The assignment by `size` ranks, which must all have the same."""

    def work(ranks: Ranks) -> Assignment:
        rows = features[ranks.rank :: size]
        return kmeans.fit_share(rows, n_images=len(features), ranks=ranks, seed=seed, start=start)

    results = on_ranks(size, work)
    first = results[0]
    for result in results:
        if isinstance(result, Exception):
            raise result
        assert isinstance(first, Assignment)
        assert torch.equal(result.labels, first.labels) and torch.equal(result.centroids, first.centroids)
        assert result.objective == first.objective
    assert isinstance(first, Assignment)
    return first


def assert_same(found: Assignment, expected: Assignment) -> None:
    assert torch.equal(found.labels, expected.labels)
    torch.testing.assert_close(found.centroids, expected.centroids, atol=1e-5, rtol=0)
    assert found.objective == pytest.approx(expected.objective, rel=1e-5)
    assert found.k == expected.k
    assert (found.n_repaired, found.n_squeezed, found.n_unused) == (
        expected.n_repaired,
        expected.n_squeezed,
        expected.n_unused,
    )


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("backend", BACKENDS)
def test_ranks_cluster_like_one_process(backend: str, size: int) -> None:
    features, kmeans = mixture(), KMeans(k=30, backend=backend)
    assert_same(on_shares(kmeans, features, size), kmeans.fit(features, seed=5))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "settings",
    [
        {"spherical": True},
        {"max_points_per_centroid": 9},
        {"n_redo": 3, "n_iter": 4},
        {"start": "kmeans++", "max_points_per_centroid": 20, "n_redo": 2},
    ],
    ids=["spherical", "sample", "redo", "kmeans++"],
)
def test_every_setting_means_the_same_on_ranks(backend: str, settings: dict[str, int]) -> None:
    features, kmeans = mixture(), KMeans(k=30, backend=backend, **settings)  # type: ignore[arg-type]
    assert_same(on_shares(kmeans, features, 3), kmeans.fit(features, seed=5))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("empty", ["repair", "squeeze", "keep"])
def test_ranks_fill_empty_clusters_with_the_same_images(backend: str, empty: str) -> None:
    features, kmeans = with_duplicates(), KMeans(k=100, n_iter=3, backend=backend, empty=empty)
    expected = kmeans.fit(features, seed=5)
    assert expected.n_repaired + expected.n_squeezed + expected.n_unused > 0
    assert_same(on_shares(kmeans, features, 3), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_ranks_start_from_the_last_labels_like_one_process(backend: str) -> None:
    features, kmeans = mixture(), KMeans(k=30, n_iter=3, backend=backend, start="labels")
    labels = torch.randint(-1, 25, (len(features),), generator=torch.Generator().manual_seed(8))  # 25 to 29 are empty
    expected = kmeans.fit(features, seed=5, start=labels)
    assert_same(on_shares(kmeans, features, 3, start=labels), expected)
    assert not torch.equal(expected.labels, kmeans.fit(features, seed=5).labels)


@pytest.mark.parametrize("backend", BACKENDS)
def test_as_many_clusters_as_images_gives_each_its_own(backend: str) -> None:
    found = on_shares(KMeans(k=30, backend=backend), torch.zeros(30, 4), 4)
    assert found.labels.sort().values.tolist() == list(range(30))


def test_more_ranks_than_images_leave_some_with_nothing() -> None:
    features, kmeans = mixture(n=3), KMeans(k=2, backend="torch")
    assert_same(on_shares(kmeans, features, 4), kmeans.fit(features, seed=5))


def test_a_share_in_float16_is_read_as_float32() -> None:
    features, kmeans = mixture().half(), KMeans(k=30, backend="torch")
    assert_same(on_shares(kmeans, features, 2), kmeans.fit(features.float(), seed=5))


def test_labels_above_255_travel_whole() -> None:
    found = on_shares(KMeans(k=300, n_iter=2, backend="torch"), mixture(), 2)
    assert int(found.labels.max()) == 299


def test_faiss_splits_as_faiss_does() -> None:
    import faiss

    features = with_duplicates()
    k = 100
    starts, sample = kmeans_faiss.draw(len(features), k, 5, None)
    assert sample is None
    one = kmeans_faiss.lloyd(features, k, n_iter=1, seed=5)
    index = faiss.IndexFlatL2(features.shape[1])
    index.add(features[starts].numpy())
    labels = torch.from_numpy(index.search(features.numpy(), 1)[1]).flatten()
    sizes = torch.bincount(labels, minlength=k)
    assert int((sizes == 0).sum()) > 10
    sums = torch.zeros(k, features.shape[1]).index_add_(0, labels, features)
    split = kmeans_faiss.split_into_empty(sums / sizes.clamp_min(1)[:, None], sizes)
    torch.testing.assert_close(split, one, atol=1e-6, rtol=0)


def test_a_rank_with_bad_values_is_told_to_all() -> None:
    features = mixture()
    features[7, 2] = float("nan")  # rank 1's fourth row
    kmeans = KMeans(k=30, backend="torch")
    results = on_ranks(
        2, lambda ranks: kmeans.fit_share(features[ranks.rank :: 2], n_images=len(features), ranks=ranks, seed=5)
    )
    assert isinstance(results[1], ValueError) and "the first in row 3" in str(results[1])
    assert isinstance(results[0], RuntimeError) and "failed on another rank" in str(results[0])


def test_size_decides_between_shares_and_one_process() -> None:
    small, large = KMeans(k=50), KMeans(k=1000)
    assert small.shares(60_000, 64)[0] is False
    assert large.shares(50_000, 256)[0] is True  # 1.3e10 products an iteration
    assert KMeans(k=2).shares(1_300_000, 256) == (True, "1270 MB of reduced features")
    assert KMeans(k=50, parallel="shares").shares(100, 4) == (True, "clustering.parallel=shares")
    assert KMeans(k=1000, parallel="gather").shares(10**7, 256) == (False, "clustering.parallel=gather")
    assert PIC().shares(10**7, 256)[0] is False
    with pytest.raises(ValueError, match=r"clustering.parallel must be one of auto, gather, shares, got 'yes'"):
        KMeans(parallel="yes")
