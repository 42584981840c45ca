"""Average precision, precision and recall of rankings worked out by hand; the revisited protocol's rules."""

from pathlib import Path

import pytest
import torch
from reference import rmac as plain

from deepcluster.evaluation.retrieval.ranking import augment_database, expand_queries, rank
from deepcluster.evaluation.retrieval.revisited import REVISITED
from deepcluster.evaluation.retrieval.scores import (
    answers,
    average_precision,
    has_positive,
    key_suffix,
    places_of,
    precision_at,
    scores,
)
from deepcluster.evaluation.retrieval.sets import Query, RetrievalSet, Truth


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([0], 1.0),
        ([1], 0.25),  # (0 + 1/2) / 2
        ([3], 0.125),
        ([0, 1, 2], 1.0),
        ([0, 2], (1 + (1 / 2 + 2 / 3) / 2) / 2),  # = 0.791666
        ([1, 4], ((0 + 1 / 2) / 2 + (1 / 4 + 2 / 5) / 2) / 2),  # = 0.2875
    ],
)
def test_average_precision_worked_out_by_hand(places: list[int], expected: float) -> None:
    assert average_precision(places) == pytest.approx(expected)


def test_average_precision_is_the_plain_twin_s_and_junk_is_skipped() -> None:
    generator = torch.Generator().manual_seed(3)
    for _ in range(50):
        ranking = torch.randperm(30, generator=generator)
        chosen = torch.randperm(30, generator=generator).tolist()
        truth = Truth(positives=frozenset(chosen[:6]), ignored=frozenset(chosen[6:15]))
        names = [str(i) for i in ranking.tolist()]
        expected = plain.average_precision(names, {str(i) for i in truth.positives}, {str(i) for i in truth.ignored})
        assert average_precision(places_of(ranking, truth)) == pytest.approx(expected)


def test_junk_counts_neither_for_nor_against() -> None:
    truth = Truth(positives=frozenset({0, 1}), ignored=frozenset({2, 3}))
    assert places_of(torch.tensor([2, 0, 3, 4, 1]), truth) == [0, 2]
    assert places_of(torch.tensor([0, 4, 1, 2, 3]), truth) == [0, 2]
    assert places_of(torch.tensor([4, 3, 2, 1, 0]), Truth(positives=frozenset({0}))) == [4]


def test_precision_at_k_stops_at_the_last_positive() -> None:
    assert precision_at([0, 1, 2], 10) == 1.0  # 3 positives, all in front
    assert precision_at([0, 4], 10) == pytest.approx(2 / 5)
    assert precision_at([0, 4], 1) == 1.0 and precision_at([1, 4], 1) == 0.0
    assert precision_at([2, 30], 10) == pytest.approx(1 / 10)
    assert has_positive([4, 9], 5) and not has_positive([4, 9], 4)


def revisited(*lists: tuple[set[int], set[int], set[int]]) -> RetrievalSet:
    """Queries from their (easy, hard, junk)."""
    queries = []
    for number, (easy, hard, junk) in enumerate(lists):
        named = {"easy": easy, "hard": hard, "junk": junk}
        truths = {
            protocol: Truth(
                positives=frozenset().union(*(named[n] for n in wanted)),
                ignored=frozenset().union(*(named[n] for n in ignored)),
            )
            for protocol, (wanted, ignored) in REVISITED.items()
        }
        queries.append(Query(name=f"q{number}", path=Path(f"q{number}.jpg"), truths=truths))
    database = [Path(f"{i}.jpg") for i in range(6)]
    return RetrievalSet(layout="revisited", root=Path(), database=database, queries=queries)


def test_easy_medium_and_hard_of_one_ranking_by_hand() -> None:
    found = revisited(({0, 1}, {2}, {3}), (set(), {5}, set()))
    rankings = torch.tensor([[3, 2, 0, 4, 1, 5], [5, 0, 1, 2, 3, 4]])
    given = answers(found, rankings)
    assert [(a.protocol, a.query, a.places) for a in given] == [
        ("easy", 0, [0, 2]),  # 3 and 2 are taken out: 0 4 1 5; the second query has no easy positive
        ("medium", 0, [0, 1, 3]),  # 2 0 4 1 5
        ("medium", 1, [0]),
        ("hard", 0, [0]),  # 2 4 5
        ("hard", 1, [0]),
    ]
    numbers = scores(found, given)
    medium = (1 + 1 + (2 / 3 + 3 / 4) / 2) / 3
    assert numbers["easy"]["map"] == pytest.approx((1 + (1 / 2 + 2 / 3) / 2) / 2)
    assert numbers["medium"]["map"] == pytest.approx((medium + 1) / 2)
    assert numbers["hard"]["map"] == 1.0
    assert numbers["easy"]["mp_at_5"] == pytest.approx(2 / 3)
    assert numbers["medium"]["mp_at_10"] == pytest.approx((3 / 4 + 1) / 2)
    assert set(numbers["hard"]) == {"map", "mp_at_1", "mp_at_5", "mp_at_10"}


def test_folders_of_the_plain_layout_are_also_reported_alone() -> None:
    truth = {"": Truth(positives=frozenset({0}))}
    queries = [Query(name=g, path=Path(g), truths=truth, group=g) for g in ("Canon 5", "Droid")]
    found = RetrievalSet(layout="plain", root=Path(), database=[Path("0"), Path("1")], queries=queries)
    numbers = scores(found, answers(found, torch.tensor([[0, 1], [1, 0]])))
    assert numbers["Canon 5"]["map"] == 1.0 and numbers["Droid"]["map"] == 0.25 and numbers[""]["map"] == 0.625
    assert numbers["Droid"]["recall_at_1"] == 0.0 and numbers["Droid"]["recall_at_5"] == 1.0
    assert key_suffix("Canon 5") == "_canon_5" and key_suffix("") == ""


def test_expansion_by_hand_and_off() -> None:
    database = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-1.0, 0.0]]), dim=1)
    queries = torch.tensor([[0.96, -0.28]])
    assert expand_queries(queries, database, 0) is queries and augment_database(database, 0) is database
    # the best two answers are 0 and 1: their sum with the query is (2.76, 0.32)
    expanded = expand_queries(queries, database, 2)
    assert torch.allclose(expanded, torch.nn.functional.normalize(torch.tensor([[2.76, 0.32]]), dim=1))
    # each image and its nearest other: 0 with 1, 1 with 0 (cosine 0.8), 2 with 1 (0.6), 3 with 2 (0)
    augmented = augment_database(database, 1)
    sums = torch.tensor([[1.8, 0.6], [1.8, 0.6], [0.8, 1.6], [-1.0, 1.0]])
    assert torch.allclose(augmented, torch.nn.functional.normalize(sums, dim=1))
    mean = torch.nn.functional.normalize(database.sum(0), dim=0).expand(4, 2)
    assert torch.allclose(augment_database(database, 9), mean)  # no more than all there are


def test_rankings_put_the_most_similar_first_and_ties_in_their_order() -> None:
    database = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    assert rank(torch.tensor([[1.0, 0.0]]), database).tolist() == [[1, 3, 0, 2]]


def test_augmentation_in_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    database = torch.nn.functional.normalize(torch.randn(23, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    whole = augment_database(database, 3)
    monkeypatch.setattr("deepcluster.evaluation.retrieval.ranking.MAX_SIMILARITIES", 23 * 5)
    assert torch.allclose(augment_database(database, 3), whole)
