"""Rankings -> average precision, precision and recall at k, for every protocol. Next: report.py."""

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from deepcluster.evaluation.retrieval.sets import RetrievalSet, Truth

AT = (1, 5, 10)  # Radenovic et al. 2018 report mP@10; their code 1, 5 and 10


@dataclass(kw_only=True)
class Answer:
    """Where one query's positives stand in its ranking, by one protocol.

    Args:
        protocol: its name, "" if there is only one.
        query: its number in the set.
        places: places of its positives, from 0, ascending, after removing the ignored images.
    """

    protocol: str
    query: int
    places: list[int]

    @property
    def average_precision(self) -> float:
        """See :func:`average_precision`."""
        return average_precision(self.places)


def places_of(ranking: Tensor, truth: Truth) -> list[int]:
    """Places, from 0, of the positives in a ranking (N,) of all images, after removing the ignored images."""
    ignored = torch.zeros(len(ranking), dtype=torch.bool)
    positive = torch.zeros(len(ranking), dtype=torch.bool)
    ignored[list(truth.ignored)] = True
    positive[list(truth.positives)] = True
    not_ignored = ranking[~ignored[ranking]]
    return [int(place) for place in positive[not_ignored].nonzero()[:, 0]]


def average_precision(places: list[int]) -> float:
    """Area under the precision-recall curve by the trapezoid rule; precision starts at 1.

    This is the rule of Oxford5k's program compute_ap. A single positive at place r > 0 gives 1 / (2 (r + 1)); at place
    0 it gives 1.

    Args:
        places: places of the positives, from 0, ascending; at least one.
    """
    area = 0.0
    for n_before, place in enumerate(places):
        before = n_before / place if place > 0 else 1.0
        area += (before + (n_before + 1) / (place + 1)) / 2
    return area / len(places)


def precision_at(places: list[int], k: int) -> float:
    """Share of positives among the first k images; if all positives come earlier, only up to the last of them.

    So a query with 3 positives can reach 1 at k = 10 (code of Radenovic et al. 2018).
    """
    k = min(k, places[-1] + 1)
    return sum(place < k for place in places) / k


def has_positive(places: list[int], k: int) -> bool:
    """Whether a positive is among the first k. The mean over queries is recall@k of instance retrieval."""
    return places[0] < k


def answers(searched: RetrievalSet, rankings: Tensor) -> list[Answer]:
    """The answers to every query in every protocol. A query without positives is left out (Radenovic et al. 2018).

    Args:
        rankings: (Q, N), from :func:`deepcluster.evaluation.retrieval.ranking.rank`.
    """
    judged = []
    for protocol in searched.queries[0].truths:
        for number, query in enumerate(searched.queries):
            truth = query.truths[protocol]
            if truth.positives:
                places = places_of(rankings[number], truth)
                judged.append(Answer(protocol=protocol, query=number, places=places))
    return judged


def scores(searched: RetrievalSet, judged: list[Answer]) -> dict[str, dict[str, float]]:
    """Means over the queries.

    Returns:
        protocol -> measure -> value. In the plain layout "" stands for all queries, and each query folder has its own
        entry if there are several. Measures are map, in the revisited layout also mp_at_1, mp_at_5, mp_at_10, in the
        plain layout also recall_at_1, recall_at_5, recall_at_10.
    """
    rows: dict[str, list[Answer]] = {}
    for answer in judged:
        rows.setdefault(answer.protocol, []).append(answer)
    if len(searched.folders) > 1:
        for folder in searched.folders:
            rows[folder] = [answer for answer in judged if searched.queries[answer.query].group == folder]
    return {name: _means(searched.layout, members) for name, members in rows.items()}


def _means(layout: str, judged: list[Answer]) -> dict[str, float]:
    measures = {"map": [answer.average_precision for answer in judged]}
    for k in AT:
        if layout == "revisited":
            measures[f"mp_at_{k}"] = [precision_at(answer.places, k) for answer in judged]
        elif layout == "plain":
            measures[f"recall_at_{k}"] = [float(has_positive(answer.places, k)) for answer in judged]
    return {measure: sum(values) / len(values) for measure, values in measures.items()}


def key_suffix(name: str) -> str:
    """A folder's or protocol's name as the end of a key in results.json."""
    return f"_{re.sub('[^a-z0-9]+', '_', name.lower())}" if name else ""


def relevance(truth: Truth, image: int) -> str:
    """Whether an image of the database is "positive", "ignored" or "wrong"."""
    return "positive" if image in truth.positives else "ignored" if image in truth.ignored else "wrong"
