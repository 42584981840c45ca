"""The result of a search, and how it is reported: a table for the terminal, and queries.csv. Next: answer_page.py."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from deepcluster.evaluation.retrieval.scores import Answer
from deepcluster.evaluation.retrieval.sets import RetrievalSet
from deepcluster.system.tables import aligned, write_csv

N_LISTED = 10  # best answers listed per query in queries.csv


@dataclass(kw_only=True)
class Search:
    """Rankings and answers without expansion and augmentation, and numbers with and without them.

    Args:
        searched: the set, without its broken images.
        rankings: (Q, N) indices of the database, best first.
        answers: those of the queries that have positives.
        numbers: for results.json.
    """

    searched: RetrievalSet
    rankings: Tensor
    answers: list[Answer]
    numbers: dict[str, float]


def table_lines(rows: dict[str, dict[str, float]]) -> list[str]:
    """Lines of a table from row -> measure -> value; all rows have the same measures."""
    measures = list(next(iter(rows.values())))
    return aligned(
        [["", *measures], *([row, *(f"{values[name]:.1%}" for name in measures)] for row, values in rows.items())]
    )


def write_queries(path: Path, searched: RetrievalSet, rankings: Tensor, by_variant: dict[str, list[Answer]]) -> None:
    """Write queries.csv: a line for each query and protocol with its average precision by variant and its best answers.

    Args:
        rankings: (Q, N), whose best images are listed.
        by_variant: "" (without expansion and augmentation), "_aqe", ... -> answers. All variants have the same queries
            in the same order.
    """
    columns = ["query", "group", "protocol", "n_positives", "first_place"]
    rows: list[list[object]] = []
    for of_query in zip(*by_variant.values(), strict=True):
        answer, query = of_query[0], searched.queries[of_query[0].query]
        best = (searched.database[int(i)] for i in rankings[answer.query, :N_LISTED])
        rows.append(
            [
                *(query.name, query.group, answer.protocol, len(answer.places), answer.places[0] + 1),
                *(f"{variant.average_precision:.6f}" for variant in of_query),
                " ".join(image.relative_to(searched.root).as_posix() for image in best),
            ]
        )
    write_csv(path, [*columns, *(f"average_precision{variant}" for variant in by_variant), "best"], rows)
