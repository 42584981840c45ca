"""What a search of the database is told as: a table for the user, queries.csv, and the material for pictures."""

import csv
import io
from dataclasses import dataclass

from torch import Tensor

from deepcluster.evaluation.retrieval.scores import Answer
from deepcluster.evaluation.retrieval.sets import RetrievalSet

N_LISTED = 10  # best answers in queries.csv


@dataclass(kw_only=True)
class Search:
    """What came out, without expansion and augmentation, for pictures; and all numbers.

    Args:
        found: the set as it was searched.
        rankings: (Q, N) indices of the database, best first.
        answers: of the queries that have positives.
        numbers: for results.json.
    """

    found: RetrievalSet
    rankings: Tensor
    answers: list[Answer]
    numbers: dict[str, float]


def printed(rows: dict[str, dict[str, float]]) -> list[str]:
    """Rows of measures as lines of a table; all rows have the same measures."""
    measures = list(next(iter(rows.values())))
    return [
        f"{'':24}" + "".join(f"{measure:>14}" for measure in measures),
        *(f"{row:24}" + "".join(f"{values[measure]:14.1%}" for measure in measures) for row, values in rows.items()),
    ]


def table(found: RetrievalSet, rankings: Tensor, given: dict[str, list[Answer]]) -> str:
    """queries.csv: one line per query and protocol, with its average precision in every variant and its best answers.

    Args:
        found: the set.
        rankings: (Q, N), whose best are listed.
        given: variant, "" the plain one -> its answers, of all variants the same queries in the same order.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [f"average_precision{name}" for name in given]
    writer.writerow(["query", "group", "protocol", "n_positives", "first_place", *columns, "best"])
    for row in zip(*given.values(), strict=True):
        answer, query = row[0], found.queries[row[0].query]
        best = [found.database[int(i)].relative_to(found.root).as_posix() for i in rankings[answer.query, :N_LISTED]]
        precisions = [f"{each.average_precision:.6f}" for each in row]
        head = [query.name, query.group, answer.protocol, len(answer.places), answer.places[0] + 1]
        writer.writerow([*head, *precisions, " ".join(best)])
    return text.getvalue()
