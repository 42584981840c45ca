"""Rows (M, D) from a .npy or .parquet file, in the order of the images. Next: extraction.py reduces them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

NAME_COLUMNS = ("path", "id", "sample")
ROWS_PER_BATCH = 4096


class RowTable:
    """Stored rows in the form of a pass over the images, see RowSource in extraction.py.

    Args:
        rows: (M, D) numbers, perhaps a mapped file.
        order: (N,) the row of each image.
        samples: the images' names, for messages.
    """

    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self, rows: NDArray[Any], order: Tensor, samples: Sequence[str]) -> None:
        self.rows, self.order, self.samples = rows, order, samples
        self.dim: int = rows.shape[1]
        self.n_images = len(order)
        self.seconds = {"features_s": 0.0, "reduction_s": 0.0}

    def stream(self, indices: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (indices (B,), rows (B, D) float32) of these images, in their order.

        Raises:
            ValueError: naming the image, if a number is not finite.
        """
        for part in torch.split(indices, ROWS_PER_BATCH) if len(indices) else ():
            rows = torch.from_numpy(np.asarray(self.rows[self.order[part].numpy()], dtype=np.float32))
            finite = torch.isfinite(rows).all(dim=1)
            if not bool(finite.all()):
                first = self.samples[int(part[int((~finite).nonzero()[0, 0])])]
                raise ValueError(
                    f"other_rows.path: {int((~finite).sum())} of {len(rows)} rows are NaN or infinite, first that of "
                    f"{first}; write the file without them, and leave out the images"
                )
            yield part, rows


def read_row_table(path: str, names: str | None, samples: Sequence[str]) -> RowTable:
    """The rows of a file, one for each image.

    Args:
        names: a text file with the name of each row of a .npy; None: they stand in the images' order.
        samples: the N images' names.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file has another form, or no row for an image.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"other_rows.path={path}: there is no such file")
    names_in_order: list[str] | None = None
    if file.suffix == ".parquet":
        if names is not None:
            raise ValueError(f"other_rows.names is for .npy files; {path} has names in a column path or id")
        rows, names_in_order = _parquet(file)
    elif file.suffix == ".npy":
        rows = _npy(file)
        if names is not None:
            names_in_order = _lines(Path(names))
    else:
        raise ValueError(f"other_rows.path={path} must be a .npy or a .parquet file")
    if names_in_order is None:
        if len(rows) != len(samples):
            raise ValueError(
                f"other_rows.path={path} has {len(rows):,} rows, there are {len(samples):,} images; give it one row "
                "for each image in their order, or their names by other_rows.names=FILE"
            )
        return RowTable(rows, torch.arange(len(rows)), samples)
    if len(names_in_order) != len(rows):
        raise ValueError(f"other_rows.names={names} has {len(names_in_order):,} names, {path} has {len(rows):,} rows")
    return RowTable(rows, _places(names_in_order, samples, path), samples)


def _places(names: Sequence[str], samples: Sequence[str], path: str) -> Tensor:
    """The row of each image, (N,)."""
    place = {name: row for row, name in enumerate(names)}
    if len(place) < len(names):
        twice = next(name for row, name in enumerate(names) if place[name] != row)
        raise ValueError(f"other_rows.path={path} has several rows for {twice}; leave one")
    missing = [name for name in samples if name not in place]
    if missing:
        raise ValueError(
            f"other_rows.path={path} has no row for {len(missing):,} of {len(samples):,} images, first {missing[0]} "
            f"(its own first name is {names[0] if len(names) else 'missing: it is empty'}); add them, or leave out the "
            "images"
        )
    return torch.tensor([place[name] for name in samples], dtype=torch.int64)


def _lines(file: Path) -> list[str]:
    if not file.is_file():
        raise FileNotFoundError(f"other_rows.names={file}: there is no such file")
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"other_rows.names={file} is not a text file of names in UTF-8: {error}") from error
    return text.removesuffix("\n").split("\n")


def _npy(file: Path) -> NDArray[Any]:
    try:
        rows = np.lib.format.open_memmap(file, mode="r")
    except ValueError as error:
        raise ValueError(f"other_rows.path={file} is not a .npy file of numbers: {error}") from error
    if rows.ndim != 2 or rows.dtype.kind not in "fiu":
        raise ValueError(f"other_rows.path={file} must hold numbers (N, D), got {rows.dtype} {rows.shape}")
    return rows


def _parquet(file: Path) -> tuple[NDArray[Any], list[str]]:
    try:
        table = pq.read_table(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"other_rows.path={file} is not a readable .parquet file: {error}") from error
    column = next((name for name in NAME_COLUMNS if name in table.column_names), None)
    if column is None:
        raise ValueError(
            f"other_rows.path={file} needs a column {' or '.join(NAME_COLUMNS)} with the images' names; it has "
            f"{', '.join(table.column_names)}"
        )
    names = [str(name) for name in table[column].to_pylist()]
    numbers = table.drop_columns([name for name in NAME_COLUMNS if name in table.column_names])
    columns = [numbers[name].combine_chunks() for name in numbers.column_names]
    if len(columns) == 1 and _is_number(getattr(columns[0].type, "value_type", None)):
        lists = columns[0].to_pylist()
        lengths = {len(row or ()) for row in lists}
        if len(lengths) != 1:
            raise ValueError(f"other_rows.path={file}: its lists must have one length, got {sorted(lengths)[:5]}")
        return np.array(lists, dtype=np.float32), names
    of_no_numbers = [
        name for name, values in zip(numbers.column_names, columns, strict=True) if not _is_number(values.type)
    ]
    if of_no_numbers or not columns:
        raise ValueError(
            f"other_rows.path={file}: beside {column} it must hold one column of lists of numbers, or columns of "
            f"numbers; {', '.join(of_no_numbers) or 'it has none'}{' are not' if of_no_numbers else ''}"
        )
    return np.stack([values.to_numpy(zero_copy_only=False) for values in columns], axis=1).astype(np.float32), names


def _is_number(kind: pa.DataType | None) -> bool:
    return kind is not None and (pa.types.is_floating(kind) or pa.types.is_integer(kind))
