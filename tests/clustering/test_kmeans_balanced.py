import pytest
import torch
from support.several import on_ranks
from torch import Tensor
from torch.nn.functional import normalize

from deepcluster.clustering import kmeans_balanced
from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.ranks import Ranks

BACKENDS = ["faiss", "torch"]


def skewed(n: int = 1000, dim: int = 8) -> Tensor:
    """Groups of sizes 1 : 1/2 : 1/3 : ..."""
    generator = torch.Generator().manual_seed(0)
    members = torch.multinomial(1 / torch.arange(1.0, 13), n, replacement=True, generator=generator)
    centres = torch.randn(12, dim, generator=generator)
    return normalize(centres[members] + 0.3 * torch.randn(n, dim, generator=generator))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("spherical", [False, True])
def test_balanced_clusters_differ_by_a_few_percent_in_size(backend: str, spherical: bool) -> None:
    features = skewed()
    free, balanced = (
        KMeans(k=10, spherical=spherical, sizes=sizes, backend=backend).fit(features, seed=1)
        for sizes in ("free", "balanced")
    )
    assert int(free.sizes().max()) > 150 and int(free.sizes().min()) < 70
    assert int(balanced.sizes().max()) <= 105 and int(balanced.sizes().min()) >= 95
    assert balanced.objective > free.objective


def test_the_unit_of_the_rows_does_not_matter_to_balanced_clusters() -> None:
    of_unit, of_others = (KMeans(k=10, sizes="balanced").fit(scale * skewed(), seed=1).sizes() for scale in (1, 64))
    assert torch.equal(of_unit, of_others)


@pytest.mark.parametrize("spherical", [False, True])
def test_balanced_clusters_have_their_means_for_centroids(spherical: bool) -> None:
    features = skewed()
    found = KMeans(k=10, spherical=spherical, sizes="balanced").fit(features, seed=1)
    means = torch.stack([features[found.labels == cluster].mean(dim=0) for cluster in range(10)])
    torch.testing.assert_close(found.centroids, normalize(means) if spherical else means)
    differences = features - found.centroids[found.labels]
    assert found.objective == pytest.approx(differences.square().sum().item(), rel=1e-5)


def test_ranks_balance_like_one_process() -> None:
    features, settings = skewed(), KMeans(k=10, sizes="balanced", backend="torch")
    expected = settings.fit(features, seed=1)

    def work(ranks: Ranks) -> Assignment:
        return settings.fit_share(features[ranks.rank :: 3], n_images=1000, ranks=ranks, seed=1)

    for found in on_ranks(3, work):
        assert isinstance(found, Assignment)
        assert (found.labels != expected.labels).sum() <= 2  # the order of additions decides between near-equal scores
        torch.testing.assert_close(found.centroids, expected.centroids, atol=0.01, rtol=0)


def test_copies_of_one_image_stay_together_and_empty_clusters_are_repaired() -> None:
    features = skewed()
    features[:800] = features[0]
    found = KMeans(k=10, sizes="balanced", n_iter=3).fit(features, seed=1)
    assert bool((found.sizes() > 0).all()) and bool(torch.isfinite(found.centroids).all())


def test_the_estimate_knows_the_passes_of_balancing() -> None:
    passes = (kmeans_balanced.N_HALVINGS + 1) * kmeans_balanced.N_ITER
    free, balanced = (KMeans(k=10, sizes=sizes).distances(1000) for sizes in ("free", "balanced"))
    assert balanced - free == passes * 10 * 1000
