import math
import random

import numpy as np
import pytest
import torch
from reference import clustering as plain
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor

from deepcluster.clustering import metrics


def labelings(seed: int, n: int = 60, k: int = 5) -> tuple[list[int], list[int]]:
    """Two labelings that agree on about half of the images, under other names."""
    draw = random.Random(seed)
    a = [draw.randrange(k) for _ in range(n)]
    return a, [(x + 2) % k if draw.random() < 0.5 else draw.randrange(k) for x in a]


def tensors(*lists: list[int]) -> list[Tensor]:
    return [torch.tensor(values) for values in lists]


@pytest.mark.parametrize("seed", range(4))
def test_nmi_equals_its_definition_and_scikit_learn(seed: int) -> None:
    a, b = labelings(seed)
    assert metrics.nmi(*tensors(a, b)) == pytest.approx(plain.nmi(a, b), abs=1e-12)
    assert metrics.nmi(*tensors(a, b)) == pytest.approx(normalized_mutual_info_score(a, b), abs=1e-12)


def test_nmi_averages_the_entropies_arithmetically() -> None:
    # H(a) = ln 4, H(b) = ln 2 = I: 2 ln 2 / (3 ln 2); the geometric mean would give 0.707
    assert metrics.nmi(*tensors([0, 1, 2, 3], [0, 0, 1, 1])) == pytest.approx(2 / 3)


@pytest.mark.parametrize("seed", range(4))
def test_the_geometric_average_is_that_of_2018(seed: int) -> None:
    a, b = labelings(seed)
    a = [x // 2 for x in a]  # entropies that differ, else all means are one
    expected = normalized_mutual_info_score(a, b, average_method="geometric")
    assert metrics.nmi(*tensors(a, b), "geometric") == pytest.approx(expected, abs=1e-12)
    assert metrics.nmi(*tensors(a, b), "geometric") > metrics.nmi(*tensors(a, b)) + 1e-4
    assert metrics.label_metrics(*tensors(a, b), "geometric")["nmi_labels"] == pytest.approx(expected)


def test_nmi_averages_the_entropies_geometrically_by_hand() -> None:
    # H(a) = ln 4, H(b) = ln 2 = I: ln 2 / sqrt(2 ln 2 ln 2)
    assert metrics.nmi(*tensors([0, 1, 2, 3], [0, 0, 1, 1]), "geometric") == pytest.approx(math.sqrt(0.5))


def test_nmi_knows_no_names_and_no_gaps() -> None:
    a, b = labelings(0)
    renamed = [1000 * (7 - x) for x in b]
    assert metrics.nmi(*tensors(a, renamed)) == pytest.approx(metrics.nmi(*tensors(a, b)), abs=1e-12)
    assert metrics.nmi(*tensors(b, renamed)) == pytest.approx(1)


def test_nmi_of_constant_labelings() -> None:
    for average in metrics.AVERAGES:
        assert metrics.nmi(*tensors([0, 0, 0], [4, 4, 4]), average) == 1
        assert metrics.nmi(*tensors([0, 0, 0], [0, 1, 2]), average) == 0


def test_labelings_of_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="two labelings of the same images"):
        metrics.nmi(*tensors([0, 1], [0, 1, 2]))


def test_ari_does_not_overflow_at_many_images() -> None:
    labels = torch.arange(200_000) % 2
    clusters = torch.where(torch.arange(200_000) % 10 < 2, 1 - labels, labels)  # a fifth is wrong
    assert metrics.ari(labels, clusters) == pytest.approx(0.36, abs=0.01)


def test_chance_gives_zero_when_adjusted() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randint(50, (2, 500), generator=generator)
    assert metrics.nmi(a, b) > 0.4
    assert abs(metrics.ami(a, b)) < 0.05
    assert abs(metrics.ari(a, b)) < 0.01


def test_purity_counts_the_commonest_label_of_each_cluster() -> None:
    labels, clusters = tensors([0, 0, 1, 1, 1, 2], [0, 0, 0, 1, 1, 1])
    assert metrics.purity(labels, clusters) == pytest.approx(4 / 6)  # 0 twice, then 1 twice
    assert metrics.purity(clusters, labels) == pytest.approx(5 / 6)  # not symmetric


@pytest.mark.parametrize("seed", range(4))
def test_one_to_one_accuracy_and_moved_share_equal_trying_all_renamings(seed: int) -> None:
    a, b = labelings(seed)
    best = plain.best_match(a, b, 5)
    assert metrics.one_to_one_accuracy(*tensors(a, b)) == pytest.approx(best / 60)
    assert metrics.moved_share(*tensors(a, b)) == pytest.approx(1 - best / 60)


def test_one_to_one_accuracy_uses_every_cluster_once() -> None:
    # two clusters per label: only one of each can be matched
    assert metrics.one_to_one_accuracy(*tensors([0, 0, 0, 1, 1, 1], [0, 0, 1, 2, 3, 3])) == pytest.approx(4 / 6)


def test_renamed_clusters_have_not_moved() -> None:
    assert metrics.moved_share(*tensors([0, 0, 1, 2], [2, 2, 0, 1])) == 0


def test_above_the_limit_the_greedy_matching_takes_the_largest_overlap_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # overlaps: (0,0) 4, (0,1) 3, (1,0) 3; the best matching keeps 6, the greedy one 4
    previous, current = tensors([0] * 7 + [1] * 3, [0] * 4 + [1] * 3 + [0] * 3)
    assert metrics.moved_share(previous, current) == pytest.approx(0.4)
    monkeypatch.setattr(metrics, "LARGEST_EXACT_MATCHING", 1)
    assert metrics.moved_share(previous, current) == pytest.approx(0.6)


@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_the_greedy_matching_in_parts_is_that_of_all_cells(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = tensors(*(torch.randint(30, (400,), generator=torch.Generator().manual_seed(s)).tolist() for s in (1, 2)))
    table = torch.zeros(30, 30, dtype=torch.int64)
    table.index_put_((a, b), torch.ones(400, dtype=torch.int64), accumulate=True)
    n_stayed = 0
    while int(table.max()) > 0:  # ties: the lower row, then the lower column, first
        row, column = divmod(int(table.flatten().argmax()), 30)
        n_stayed += int(table[row, column])
        table[row], table[:, column] = 0, 0
    monkeypatch.setattr(metrics, "LARGEST_EXACT_MATCHING", 1)
    monkeypatch.setattr(metrics, "CELLS_AT_ONCE", at_once)
    assert metrics.moved_share(a, b) == pytest.approx(1 - n_stayed / 400)


def test_with_many_clusters_no_table_of_all_pairs_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    labelings = torch.randint(40, (3, 300), generator=torch.Generator().manual_seed(0))
    expected = metrics.mean_pairwise_nmi(labelings)
    monkeypatch.setattr(metrics, "SMALL_TABLE", 0)  # 1,600 cells are more than 300 images

    def dense(*arguments: object) -> None:
        assert len(arguments[0]) < 300 or max(arguments[0]) < 40, "cells were counted densely"  # type: ignore[arg-type,call-overload]
        return count(*arguments)

    count = np.bincount
    monkeypatch.setattr(np, "bincount", dense)
    assert metrics.mean_pairwise_nmi(labelings) == pytest.approx(expected, abs=1e-12)
    clusters, labels = labelings[0], labelings[1]
    assert "one_to_one_accuracy" in metrics.label_metrics(clusters, labels)
    monkeypatch.setattr(metrics, "LARGEST_EXACT_MATCHING", 39)
    assert "one_to_one_accuracy" not in metrics.label_metrics(clusters, labels)


def test_size_statistics_by_hand() -> None:
    found = metrics.size_statistics(torch.tensor([0, 0, 1, 3]), 4)
    entropy = 0.5 * math.log(2) + 2 * 0.25 * math.log(4)
    assert found.pop("perplexity") == pytest.approx(2**1.5)  # e to the entropy, 1.5 ln 2
    assert found == {"clusters_used": 3, "largest_share": 0.5, "entropy": pytest.approx(entropy / math.log(4))}
    assert metrics.size_statistics(torch.arange(4), 4)["entropy"] == pytest.approx(1)
    assert metrics.size_statistics(torch.zeros(4, dtype=torch.int64), 4)["entropy"] == 0


def test_images_without_a_label_are_left_out() -> None:
    a, b = labelings(1)
    clusters, labels = tensors([*a, 0, 1, 2], [*b, -1, -1, -1])
    found = metrics.label_metrics(clusters, labels)
    assert found == metrics.label_metrics(*tensors(a, b))
    assert found["nmi_labels"] == pytest.approx(plain.nmi(a, b))
    assert found["one_to_one_accuracy"] == pytest.approx(plain.best_match(b, a, 5) / 60)
    assert found["purity"] == metrics.purity(*tensors(b, a))
    assert set(found) == {"nmi_labels", "ami_labels", "ari_labels", "purity", "one_to_one_accuracy"}
    assert metrics.label_metrics(torch.tensor([0, 1]), torch.tensor([-1, -1])) == {}


def test_ami_is_skipped_where_it_would_take_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = labelings(1)
    monkeypatch.setattr(metrics, "LARGEST_AMI_TABLE", 24)
    assert "ami_labels" not in metrics.label_metrics(*tensors(a, b))
    monkeypatch.setattr(metrics, "LARGEST_AMI_TABLE", 25)
    assert "ami_labels" in metrics.label_metrics(*tensors(a, b))


@pytest.mark.parametrize("average", metrics.AVERAGES)
def test_the_agreement_of_labelings_is_the_mean_nmi_of_their_pairs(average: str) -> None:
    a, b = labelings(0)
    c, _ = labelings(1)
    d = [9] * len(a)
    rows = [a, b, [x // 2 for x in c], d]
    pairs = [metrics.nmi(*tensors(x, y), average) for i, x in enumerate(rows) for y in rows[i + 1 :]]
    assert metrics.mean_pairwise_nmi(torch.tensor(rows), average) == pytest.approx(sum(pairs) / 6, abs=1e-12)
    assert metrics.mean_pairwise_nmi(torch.tensor([a, [7 - x for x in a]])) == pytest.approx(1)
    with pytest.raises(ValueError, match="two or more labelings"):
        metrics.mean_pairwise_nmi(torch.tensor([a]))


def test_a_cluster_has_the_class_of_most_of_its_labelled_images() -> None:
    labels, clusters = tensors([2, 2, 0, 1, 0, -1, -1], [0, 0, 0, 1, 1, 1, 3])
    assert metrics.majority_classes(labels, clusters, 4).tolist() == [2, 0, -1, -1]  # of 0 and 1 equally: 0
    assert metrics.majority_classes(torch.tensor([-1]), torch.tensor([0]), 2).tolist() == [-1, -1]


@pytest.mark.parametrize("seed", range(4))
def test_many_to_one_accuracy_is_purity_where_it_was_learned_and_by_hand_elsewhere(seed: int) -> None:
    labels, clusters = tensors(*labelings(seed))
    classes = metrics.majority_classes(labels, clusters, 5)
    assert metrics.many_to_one_accuracy(labels, clusters, classes) == metrics.purity(labels, clusters)
    # cluster 0 -> 2, 1 -> 0, 2 -> nothing: right, wrong, right, wrong, wrong
    other, found = tensors([2, 0, 0, 1, 0], [0, 0, 1, 1, 2])
    assert metrics.many_to_one_accuracy(other, found, torch.tensor([2, 0, -1])) == pytest.approx(2 / 5)
