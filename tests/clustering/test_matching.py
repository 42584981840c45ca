import itertools

import pytest
import torch
from torch import Tensor

from deepcluster.clustering import matching
from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.matching import matched


def random_labels(n: int, k: int, seed: int) -> Tensor:
    """Every one of K labels occurs."""
    drawn = torch.randint(k, (n - k,), generator=torch.Generator().manual_seed(seed))
    return torch.cat([torch.arange(k), drawn])


def clusters(labels: Tensor, k: int) -> Assignment:
    """Cluster c has the centroid (c, -c)."""
    centroids = torch.arange(float(k))[:, None] * torch.tensor([1.0, -1.0])
    return Assignment(labels=labels, k=k, objective=2.0, centroids=centroids, n_repaired=1)


def most_that_stay(labels: Tensor, before: Tensor, k: int) -> int:
    """By trying all numberings."""
    return max(int((torch.tensor(numbers)[labels] == before).sum()) for numbers in itertools.permutations(range(k)))


@pytest.mark.parametrize(("k", "previous_k"), [(5, 5), (5, 3), (4, 6)])
@pytest.mark.parametrize("seed", range(3))
def test_as_many_images_keep_their_label_as_by_the_best_numbering(k: int, previous_k: int, seed: int) -> None:
    labels, before = random_labels(40, k, seed), random_labels(40, previous_k, seed + 9)
    found = matched(clusters(labels, k), before, previous_k)
    assert int((found.labels == before).sum()) == most_that_stay(labels, before, k)


@pytest.mark.parametrize("seed", range(8))
def test_among_equally_good_numberings_most_clusters_keep_their_number(seed: int) -> None:
    labels = random_labels(8, 5, seed)
    before = torch.randint(5, (8,), generator=torch.Generator().manual_seed(seed + 20))
    found = matched(clusters(labels, 5), before, 5)
    numbers = found.centroids[:, 0].argsort()  # old number -> new one
    every = torch.tensor(list(itertools.permutations(range(5))))
    stay = (every[:, labels] == before).sum(dim=1)
    kept = (every == torch.arange(5)).sum(dim=1)[stay == stay.max()]
    assert int((numbers == torch.arange(5)).sum()) == int(kept.max())


def test_images_without_a_label_stay_so_and_have_no_say() -> None:
    labels, before = torch.tensor([0, 0, -1, 1, 1, 1, -1]), torch.tensor([1, 1, 0, 0, -1, -1, 1])
    assert matched(clusters(labels, 2), before, 2).labels.tolist() == [1, 1, -1, 0, 0, 0, -1]


@pytest.mark.parametrize("limit", [0, 5000], ids=["greedy", "best"])
def test_a_renamed_assignment_gets_its_old_names_back(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "LARGEST_EXACT_MATCHING", limit)
    before = random_labels(300, 30, 0)
    names = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    found = matched(clusters(names[before], 30), before, 30)
    assert torch.equal(found.labels, before)
    # each image's centroid is that which its cluster had
    assert torch.equal(found.centroids[found.labels][:, 0], names[before].float())
    assert (found.k, found.objective, found.n_repaired) == (30, 2.0, 1)


@pytest.mark.parametrize("limit", [0, 5000], ids=["greedy", "best"])
def test_clusters_only_change_their_numbers(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "LARGEST_EXACT_MATCHING", limit)
    labels = random_labels(60, 12, 2)
    found = matched(clusters(labels, 12), random_labels(60, 7, 3), 7)
    assert sorted(found.centroids[:, 0].tolist()) == list(range(12))
    assert torch.equal(found.centroids[found.labels][:, 0], labels.float())


def test_equal_assignments_stay_as_they_are_and_so_do_clusters_that_nobody_knew() -> None:
    labels = random_labels(30, 6, 4)
    assert matched(clusters(labels, 6), labels, 6).labels is labels
    unknown = torch.full((30,), -1)
    assert matched(clusters(labels, 6), unknown, 6).labels is labels


def test_labels_of_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the same 30 images in 0..3 are needed, got 20 in 0..3"):
        matched(clusters(random_labels(30, 6, 4), 6), random_labels(20, 4, 0), 4)
