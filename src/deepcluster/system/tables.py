"""Tables: as CSV files, and as lines for a terminal."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from deepcluster.system.atomic import opened_atomically


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table row by row; the file is there whole or not at all. None is an empty cell.

    A file name need not be UTF-8: its bytes come back as they are. `rows` may be a generator longer than memory.

    Raises:
        OSError: if it cannot be written; names the file.
    """
    with opened_atomically(path) as file:
        text = io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="")
        writer = csv.writer(text, lineterminator="\n")
        quoting = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow(columns)
        for row in rows:  # csv.writer does not quote a lone \r, and readers would end the line there
            (quoting if any(isinstance(cell, str) and "\r" in cell for cell in row) else writer).writerow(row)
        text.flush()
        text.detach()  # opened_atomically closes the file


def write_records(path: Path, records: Sequence[Mapping[str, object]], columns: Sequence[str] = ()) -> None:
    """Write mappings as a CSV file; what a record lacks is an empty cell.

    Args:
        columns: those that come first; the others follow in the order in which the records name them.
    """
    names = list(dict.fromkeys([*columns, *(name for record in records for name in record)]))
    write_csv(path, names, ([record.get(name) for name in names] for record in records))


def aligned(rows: Sequence[Sequence[str]], *, n_left: int = 1) -> list[str]:
    """Cells as lines of text with equally wide columns: the first `n_left` begin, all others end at one place."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < n_left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
