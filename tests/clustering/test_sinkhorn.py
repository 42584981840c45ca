import math

import pytest
import torch
from reference import clustering as plain
from support.several import on_ranks
from torch import Tensor

from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.pic import PIC
from deepcluster.clustering.ranks import Ranks
from deepcluster.clustering.sinkhorn import sinkhorn_knopp
from deepcluster.clustering.sinkhorn_clustering import Sinkhorn


def cosines(n: int = 64, k: int = 10, seed: int = 0) -> Tensor:
    """Scores in [-1, 1], larger for the first clusters."""
    drawn = torch.rand(n, k, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return (drawn + torch.linspace(0.5, -0.5, k)).clamp(-1, 1)


def log_probabilities(n: int = 300, k: int = 10, scale: float = 8.0) -> Tensor:
    """Of a head that is sure of itself and prefers some clusters: some are as small as e^-30."""
    drawn = torch.randn(n, k, generator=torch.Generator().manual_seed(3))
    return (scale * (drawn + torch.linspace(1, -1, k))).log_softmax(dim=1)


def test_three_iterations_equal_the_dense_float64_twin() -> None:
    scores = cosines()
    expected = torch.from_numpy(plain.sinkhorn(scores.double().numpy(), 0.05, 3))
    torch.testing.assert_close(sinkhorn_knopp(scores, epsilon=0.05, n_iter=3).double(), expected, atol=1e-5, rtol=1e-4)


def test_rows_sum_to_1_and_in_the_end_columns_to_equal_parts() -> None:
    plan = sinkhorn_knopp(cosines(), epsilon=0.05, n_iter=300)
    torch.testing.assert_close(plan.sum(dim=1), torch.ones(64))
    torch.testing.assert_close(plan.sum(dim=0), torch.full((10,), 6.4), atol=1e-3, rtol=0)


def test_selas_lambda_neither_overflows_nor_loses_a_cluster() -> None:
    scores = log_probabilities()
    assert float(scores.min()) / 0.04 < -700  # whose exponential is 0 even in float64
    plan = sinkhorn_knopp(scores, epsilon=0.04, n_iter=1000)
    assert bool(torch.isfinite(plan).all())
    torch.testing.assert_close(plan.sum(dim=0), torch.full((10,), 30.0), atol=0.3, rtol=0)


def test_half_precision_scores_are_computed_in_float32() -> None:
    scores = cosines().bfloat16()
    plan = sinkhorn_knopp(scores, epsilon=0.05, n_iter=3)
    assert plan.dtype == torch.float32
    assert torch.equal(plan, sinkhorn_knopp(scores.float(), epsilon=0.05, n_iter=3))


@pytest.mark.parametrize("n", [64, 3, 1])
def test_two_ranks_have_the_plan_of_one(n: int) -> None:
    scores = cosines(n)
    expected = sinkhorn_knopp(scores, epsilon=0.05, n_iter=3)
    parts = on_ranks(2, lambda ranks: sinkhorn_knopp(scores[ranks.rank :: 2], epsilon=0.05, n_iter=3, ranks=ranks))
    for rank, part in enumerate(parts):
        assert isinstance(part, Tensor)
        torch.testing.assert_close(part, expected[rank::2], atol=1e-6, rtol=1e-4)


def test_a_hard_plan_is_the_optimal_transport() -> None:
    scores = torch.randn(40, 4, generator=torch.Generator().manual_seed(1)) + torch.tensor([2.0, 0.0, 0.0, -1.0])
    expected = plain.equal_transport(scores.double().numpy())
    plan = sinkhorn_knopp(scores, epsilon=0.01, n_iter=3000)
    assert plan.argmax(dim=1).tolist() == expected.tolist()


# On all images -----------------------------------------------------------------------------------------------------


def test_selas_labels_are_the_optimal_transport_where_the_plan_is_hard() -> None:
    scores = log_probabilities(n=60, k=5)
    found = Sinkhorn(k=5, epsilon=0.02, n_iter=500, tolerance=0).fit(scores, seed=1)
    assert found.labels.tolist() == plain.equal_transport(scores.double().numpy()).tolist()
    assert found.objective == pytest.approx(-float(scores.gather(1, found.labels[:, None]).sum()), rel=1e-6)


@pytest.mark.parametrize("epsilon", [0.3, 1.5])
def test_selas_labels_are_the_largest_entries_of_a_long_dense_plan_of_the_same_softness(epsilon: float) -> None:
    scores = log_probabilities(scale=1.0)
    dense = torch.from_numpy(plain.sinkhorn(scores.double().numpy(), epsilon, 2000))
    found = Sinkhorn(k=10, epsilon=epsilon, n_iter=500, tolerance=0).fit(scores, seed=1)
    assert torch.equal(found.labels, dense.argmax(dim=1))


def test_selas_clusters_are_about_equally_large_though_the_head_prefers_some() -> None:
    scores = log_probabilities(n=2000, k=20)
    free = torch.bincount(scores.argmax(dim=1), minlength=20)
    found = Sinkhorn(k=20).fit(scores, seed=1)
    assert int(free.max()) > 300 and int(found.sizes().max()) < 110 and int(found.sizes().min()) > 90


def test_a_new_image_gets_the_label_of_its_largest_score() -> None:
    scores = log_probabilities()
    assert torch.equal(Sinkhorn(k=10).fit(scores, seed=1).apply(scores), scores.argmax(dim=1))


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_label_scores_like_one_process(size: int) -> None:
    scores, settings = log_probabilities(n=301), Sinkhorn(k=10)
    expected = settings.fit(scores, seed=1)

    def work(ranks: Ranks) -> Assignment:
        return settings.fit_share(scores[ranks.rank :: size], n_images=301, ranks=ranks, seed=1)

    for found in on_ranks(size, work):
        assert isinstance(found, Assignment)
        assert torch.equal(found.labels, expected.labels)
        assert found.objective == pytest.approx(expected.objective, rel=1e-5)


def test_progress_counts_the_iterations_that_were_not_needed_too() -> None:
    told: list[tuple[int, int]] = []
    Sinkhorn(k=10, n_iter=15, tolerance=0.2).fit(
        log_probabilities(scale=1.0), seed=1, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(done, 90) for done in range(1, 91)]


def test_rows_that_are_no_scores_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"clustering.k=5 needs a head's scores \(N, 5\), got rows of shape \(300, 10\)"
    ):
        Sinkhorn(k=5).fit(log_probabilities(), seed=1)
    with pytest.raises(ValueError, match="the first in row 3"):
        Sinkhorn(k=10).fit(log_probabilities().index_fill(0, torch.tensor([3]), math.nan), seed=1)
    assert Sinkhorn.needs_scores and not KMeans.needs_scores and not PIC.needs_scores


def test_selas_labelings_have_the_same_or_their_own_k() -> None:
    assert Sinkhorn(k=[10, 20]).labelings() == [Sinkhorn(k=10), Sinkhorn(k=20)]
    assert Sinkhorn(k=10, n_labelings=2).describe("cpu").startswith("2 x K = 10, Sinkhorn-Knopp")
