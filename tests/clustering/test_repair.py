import pytest
import torch
from reference.clustering import images_lists_labels

from deepcluster.clustering import repair
from deepcluster.clustering.repair import repair_empty, squeeze_empty


def test_the_upper_half_along_the_direction_of_the_farthest_moves() -> None:
    # cluster 0: 10, 3, 12, 11, 9 on a line (mean 9, farthest 3); cluster 2: one image; cluster 1 is empty
    features = torch.tensor([[50.0], [10.0], [3.0], [12.0], [11.0], [9.0]])
    labels = torch.tensor([2, 0, 0, 0, 0, 0])
    repaired, centroids, n_repaired = repair_empty(features, labels, torch.tensor([[9.0], [7.0], [50.0]]))
    assert repaired.tolist() == [2, 0, 1, 0, 0, 1]  # of five the smaller half moves
    assert centroids.flatten().tolist() == [11.0, 6.0, 50.0]
    assert n_repaired == 1
    assert labels.tolist() == [2, 0, 0, 0, 0, 0]  # the caller's stay


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.randn(53, 4, generator=torch.Generator().manual_seed(0))
    whole = repair_empty(features, torch.zeros(53, dtype=torch.int64), torch.zeros(6, 4))
    monkeypatch.setattr(repair, "NUMBERS_PER_BLOCK", 4 * 10)  # ten rows; the last block is shorter
    blocked = repair_empty(features, torch.zeros(53, dtype=torch.int64), torch.zeros(6, 4))
    assert torch.equal(blocked[0], whole[0])
    torch.testing.assert_close(blocked[1], whole[1])


def test_nothing_changes_when_none_is_empty() -> None:
    labels, centroids = torch.tensor([0, 1, 1]), torch.tensor([[0.0], [1.0]])
    repaired, same, n_repaired = repair_empty(torch.tensor([[5.0], [6.0], [7.0]]), labels, centroids)
    assert repaired.tolist() == [0, 1, 1] and same.tolist() == [[0.0], [1.0]] and n_repaired == 0


def test_images_that_are_all_alike_fill_every_cluster_evenly() -> None:
    labels, centroids, n_repaired = repair_empty(
        torch.full((64, 3), 2.0), torch.full((64,), 5), torch.arange(48.0).reshape(16, 3)
    )
    assert torch.bincount(labels, minlength=16).tolist() == [4] * 16
    assert torch.equal(centroids, torch.full((16, 3), 2.0))
    assert n_repaired == 15


@pytest.mark.parametrize("n_images", [10, 11, 37])
def test_repair_never_fails_while_there_are_enough_images(n_images: int) -> None:
    generator = torch.Generator().manual_seed(n_images)
    features = torch.randn(n_images, 4, generator=generator)
    for n_used in range(1, 10):
        start = torch.randint(n_used, (n_images,), generator=generator)
        n_empty = 10 - len(set(start.tolist()))
        labels, centroids, n_repaired = repair_empty(features, start, torch.zeros(10, 4))
        assert bool((torch.bincount(labels, minlength=10) > 0).all())
        assert n_repaired == n_empty
        for cluster in range(10):  # untouched clusters keep their members, and their centroid
            members = features[labels == cluster]
            if not torch.equal(labels == cluster, start == cluster):
                torch.testing.assert_close(centroids[cluster], members.mean(dim=0))


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="2 images cannot fill 3 clusters"):
        repair_empty(torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64), torch.zeros(3, 1))


def test_squeezing_numbers_the_clusters_in_use_without_gaps() -> None:
    labels, centroids = torch.tensor([4, 1, 4, 1, 6]), torch.arange(7.0)[:, None]
    squeezed, kept, n_squeezed = squeeze_empty(labels, centroids)
    assert squeezed.tolist() == [1, 0, 1, 0, 2]
    assert kept.flatten().tolist() == [1.0, 4.0, 6.0]
    assert n_squeezed == 4
    assert labels.tolist() == [4, 1, 4, 1, 6]  # the caller's stay


@pytest.mark.parametrize("seed", range(3))
def test_squeezing_equals_the_2018_lists_of_images(seed: int) -> None:
    labels = torch.randint(40, (60,), generator=torch.Generator().manual_seed(seed))
    squeezed, kept, n_squeezed = squeeze_empty(labels, torch.zeros(40, 2))
    compacted, n_outputs = images_lists_labels(labels.tolist(), 40)
    assert squeezed.tolist() == compacted
    assert len(kept) + n_squeezed == n_outputs
