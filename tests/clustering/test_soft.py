"""Soft labels against a dense twin in float64, and their limits."""

import pytest
import torch
from support.several import on_ranks
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from deepcluster.clustering import assignment as blocks
from deepcluster.clustering.assignment import Assignment, SoftLabels
from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.matching import matched
from deepcluster.clustering.soft import soft_labels

N, K, P = 203, 9, 5


def rows_and_centroids(*, unit: bool = False) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(2)
    rows, centroids = torch.randn(N, P, generator=draw), torch.randn(K, P, generator=draw)
    return (normalize(rows), normalize(centroids)) if unit else (rows, centroids)


def dense(soft: SoftLabels) -> Tensor:
    return torch.zeros(N, K).scatter_(1, soft.numbers.long(), soft.shares)


@pytest.mark.parametrize("n_kept", [2, 4, 99])
def test_they_are_the_responsibilities_of_soft_kmeans_among_the_nearest(
    n_kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "SCORES_PER_BLOCK", 10 * K)
    rows, centroids = rows_and_centroids()
    soft = soft_labels(rows, centroids, temperature=0.7, n_kept=n_kept, n_images=N)
    weights = torch.exp(-torch.cdist(rows.double(), centroids.double()).square() / 1.4)
    smallest = weights.sort(dim=1, descending=True).values[:, min(n_kept, K) - 1 : min(n_kept, K)]
    kept = weights * (weights >= smallest)
    torch.testing.assert_close(dense(soft), (kept / kept.sum(dim=1, keepdim=True)).float(), atol=1e-5, rtol=0)
    assert soft.numbers.shape == soft.shares.shape == (N, min(n_kept, K))


def test_on_the_unit_sphere_they_are_the_softmax_of_cosines() -> None:
    rows, centroids = rows_and_centroids(unit=True)
    soft = soft_labels(rows, centroids, temperature=0.1, n_kept=K, n_images=N)
    torch.testing.assert_close(dense(soft), (rows @ centroids.T / 0.1).softmax(dim=1), atol=1e-5, rtol=0)


def test_as_the_temperature_falls_to_0_they_become_the_hard_labels_exactly() -> None:
    rows, _ = rows_and_centroids()
    found = KMeans(k=K, n_iter=5).fit(rows, seed=1)
    soft = soft_labels(rows, found.centroids, temperature=1e-9, n_kept=3, n_images=N)
    assert torch.equal(dense(soft), one_hot(found.labels, K).float())


def test_several_processes_with_shares_of_the_rows_give_the_same() -> None:
    rows, centroids = rows_and_centroids()
    alone = soft_labels(rows, centroids, temperature=0.5, n_kept=3, n_images=N)
    for found in on_ranks(
        3,
        lambda ranks: soft_labels(rows[ranks.rank :: 3], centroids, temperature=0.5, n_kept=3, n_images=N, ranks=ranks),
    ):
        assert isinstance(found, SoftLabels) and torch.equal(found.numbers, alone.numbers)
        torch.testing.assert_close(found.shares, alone.shares)


def test_they_follow_a_renumbering_and_survive_a_checkpoint() -> None:
    rows, _ = rows_and_centroids()
    found = KMeans(k=K, n_iter=5).fit(rows, seed=1)
    found.soft = soft_labels(rows, found.centroids, temperature=0.5, n_kept=3, n_images=N)
    renumbered = matched(found, (found.labels + 2) % K, K)
    again = Assignment.from_state_dict(renumbered.state_dict())
    expected = soft_labels(rows, renumbered.centroids, temperature=0.5, n_kept=3, n_images=N)
    assert not torch.equal(renumbered.labels, found.labels) and again.soft is not None
    assert torch.equal(again.soft.numbers, expected.numbers)
    torch.testing.assert_close(again.soft.shares, expected.shares)
