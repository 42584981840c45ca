"""Tables as CSV files and as aligned lines for a terminal."""

import csv
import io
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from deepcluster.system.atomic import opened_atomically


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file row by row, completely or not at all. None becomes an empty cell.

    Args:
        rows: may be a generator of more rows than fit in memory. Cells may hold file names that are not UTF-8; their
            bytes are written as they are.

    Raises:
        OSError: if it cannot be written; names the file.
    """
    with opened_atomically(path) as file:
        write_csv_into(file, columns, rows)


def write_csv_into(file: BinaryIO, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """:func:`write_csv` into an open file, such as sys.stdout.buffer, which stays open."""
    text = io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="")
    try:
        writer = csv.writer(text, lineterminator="\n")
        quoting = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow(columns)
        for row in rows:  # csv.writer does not quote \r, which readers take for the line's end
            (quoting if any(isinstance(cell, str) and "\r" in cell for cell in row) else writer).writerow(row)
        text.flush()
    finally:
        text.detach()  # else it would close the file


def read_csv(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a CSV file as :func:`write_csv` writes it; none if there is no file."""
    if path.is_file():
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            yield from csv.DictReader(file)


def write_records(path: Path, records: Sequence[Mapping[str, object]], columns: Sequence[str] = ()) -> None:
    """Write mappings as rows of a CSV file; a key that a record lacks becomes an empty cell.

    Args:
        columns: the first columns; other keys follow in the order in which they occur.
    """
    names = list(dict.fromkeys([*columns, *(name for record in records for name in record)]))
    write_csv(path, names, ([record.get(name) for name in names] for record in records))


def aligned(rows: Sequence[Sequence[str]], *, n_left: int = 1) -> list[str]:
    """Rows of cells as lines of text: the first `n_left` columns are aligned left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < n_left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def mean_and_spread(values: list[float], form: str) -> str:
    """The mean ± the standard deviation of a sample (n - 1); the mean alone if all are equal, "-" if there are none.

    >>> mean_and_spread([0.25, 0.75], "{:.1%}")
    '50.0 ± 35.4%'
    """
    if not values:
        return "-"
    mean = form.format(statistics.mean(values))
    if len(set(values)) == 1:
        return mean
    return f"{mean.removesuffix('%')} ± {form.format(statistics.stdev(values))}"
