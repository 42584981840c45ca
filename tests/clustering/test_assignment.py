from pathlib import Path

import pytest
import torch
from reference import clustering as plain

from deepcluster.clustering import assignment as module
from deepcluster.clustering import history
from deepcluster.clustering.assignment import Assignment, nearest_centroid
from deepcluster.clustering.describe import describe
from deepcluster.clustering.moments import Moments
from deepcluster.clustering.pca import FittedReduction
from deepcluster.clustering.reduction import Reduction


def small(labels: list[int] | None = None, k: int = 3, n_unused: int = 0) -> Assignment:
    return Assignment(
        labels=torch.tensor([0, 2, 1, 2] if labels is None else labels),
        k=k,
        objective=1.5,
        centroids=torch.arange(2.0 * k).reshape(k, 2),
        n_unused=n_unused,
    )


def test_sizes_count_each_clusters_images() -> None:
    assert small().sizes().tolist() == [1, 1, 2]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2, 3], "labels must be in 0..2, or -1 for none, got 0..3"),
        ([0, 1, 2, -2], "labels must be in 0..2, or -1 for none, got -2..2"),
        ([-1, 2, 2, 0], r"1 of 3 are empty: \[1\]"),
        ([], "labels must be"),
    ],
)
def test_labels_that_break_the_contract_are_refused(labels: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(labels)


def test_clusters_that_the_clustering_keeps_may_be_empty() -> None:
    kept = small([0, 2, 2, 0], n_unused=1)
    assert kept.sizes().tolist() == [2, 0, 2] and kept.n_outputs == 3
    with pytest.raises(ValueError, match="n_unused=1, but 0 of 3 clusters are empty"):
        small(n_unused=1)


@pytest.mark.parametrize("k", [3, 200, 40_000])
def test_images_without_a_label_count_nowhere_and_stay_so_on_disk(k: int, tmp_path: Path) -> None:
    labels = torch.cat([torch.arange(k), torch.tensor([-1, -1, 0])])
    some = Assignment(labels=labels, k=k, objective=0.0, centroids=torch.zeros(k, 1))
    assert some.sizes().tolist() == [2] + [1] * (k - 1)
    assert torch.equal(Assignment.from_state_dict(some.state_dict()).labels, labels)
    history.write_samples(tmp_path, [str(i) for i in range(len(labels))])
    history.write_assignment(tmp_path, "epoch_00000", 0, some)
    assert history.read_assignments(tmp_path).labels[0].tolist() == labels.tolist()


def test_images_without_a_label_are_left_out_of_the_figures() -> None:
    true = torch.tensor([0, 0, 1, 1, 0, 1])
    full, now = torch.tensor([1, 1, 0, 0, 1, 0]), torch.tensor([0, 0, 1, 1, -1, -1])
    first, second = (
        Assignment(labels=labels, k=2, objective=0.0, centroids=torch.zeros(2, 1)) for labels in (full, now)
    )
    numbers = describe(second, first, true)
    assert numbers["nmi_previous"] == numbers["nmi_labels"] == 1 and numbers["moved_share"] == 0
    assert numbers["purity"] == 1 and numbers["largest_share"] == 0.5


def test_checkpoints_tell_of_unused_clusters_only_where_there_are_some() -> None:
    assert "n_unused" not in small().state_dict()
    assert Assignment.from_state_dict(small().state_dict()).n_unused == 0
    kept = small([0, 2, 2, 0], n_unused=1)
    assert Assignment.from_state_dict(kept.state_dict()).n_unused == 1


def test_centroids_that_break_the_contract_are_refused() -> None:
    labels = torch.tensor([0, 1])
    with pytest.raises(ValueError, match="centroids must be finite"):
        Assignment(labels=labels, k=2, objective=0.0, centroids=torch.tensor([[0.0], [torch.inf]]))
    with pytest.raises(ValueError, match=r"centroids must be \(2, P\)"):
        Assignment(labels=labels, k=2, objective=0.0, centroids=torch.zeros(3, 1))


def test_nearest_centroid_equals_the_plain_twin_in_any_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(501, 7, generator=generator)
    centroids = 3 * torch.randn(40, 7, generator=generator)  # of unequal lengths: |c|^2 / 2 matters
    expected = torch.from_numpy(plain.nearest(features.double().numpy(), centroids.double().numpy()))
    assert torch.equal(nearest_centroid(features, centroids), expected)
    monkeypatch.setattr(module, "SCORES_PER_BLOCK", 1000)
    assert torch.equal(nearest_centroid(features, centroids), expected)


def test_new_images_are_reduced_and_then_given_the_nearest_centroid() -> None:
    # the projection keeps the second feature only, so the first must not matter
    reduction = FittedReduction(
        mean=torch.tensor([0.0, 10.0]),
        projection=torch.tensor([[0.0], [1.0]]),
        l2=False,
        explained_variance=1.0,
    )
    assignment = Assignment(
        labels=torch.tensor([0, 1]),
        k=2,
        objective=0.0,
        centroids=torch.tensor([[-5.0], [5.0]]),
        reduction=reduction,
    )
    assert assignment.apply(torch.tensor([[99.0, 4.0], [-99.0, 16.0], [0.0, 9.0]])).tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("k", "dtype"), [(256, torch.uint8), (257, torch.int16), (32768, torch.int16), (32769, torch.int32)]
)
def test_checkpoints_keep_the_assignment_in_the_smallest_integers(k: int, dtype: torch.dtype, tmp_path: Path) -> None:
    features = torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    moments = Moments(4)
    moments.update(features)
    before = Assignment(
        labels=torch.arange(k).flip(0),
        k=k,
        objective=2.5,
        centroids=torch.randn(k, 2, generator=torch.Generator().manual_seed(2)),
        reduction=Reduction(dim=2).fit(moments),
        n_repaired=3,
        n_merged=4,
    )
    assert before.state_dict()["labels"].dtype == dtype
    torch.save(before.state_dict(), tmp_path / "assignment.pt")
    after = Assignment.from_state_dict(torch.load(tmp_path / "assignment.pt", weights_only=True))
    assert torch.equal(after.labels, before.labels) and after.labels.dtype == torch.int64
    assert (after.k, after.objective, after.n_repaired, after.n_merged) == (k, 2.5, 3, 4)
    assert torch.equal(after.apply(features), before.apply(features))


def test_a_missing_reduction_is_kept_missing() -> None:
    assert Assignment.from_state_dict(small().state_dict()).reduction is None
