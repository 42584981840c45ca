"""data=parquet: tables of encoded images, as the Hugging Face hub has them. Next: scan.py."""

import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from deepcluster.data.cache import fingerprint
from deepcluster.data.decode import BrokenImage, channels_of
from deepcluster.data.images import EncodedImages, ImageSet, evenly_spaced
from deepcluster.data.reading_settings import Reading
from deepcluster.data.scan import scan
from deepcluster.data.settings import Parquet

_log = logging.getLogger(__name__)
SPLIT_PREFIXES = {"train": ("train",), "test": ("test", "validation", "val")}
_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "labels", "fine_label")
_N_PROBED = 64


def load_parquet(settings: Parquet, reading: Reading, split: str) -> ImageSet | None:
    """The images of a split; None if there is no test split.

    Files: DIR/*.parquet, DIR/data/*.parquet, or those of the only folder in DIR that has some (the hub's
    DIR/CONFIG/*.parquet), named train-*, test-* (or validation-*, val-*); if no name begins so, all are for
    training. Columns: an image (struct of bytes and path, or plain bytes), optionally a label: an integer, or
    text, whose classes are sorted.

    Raises:
        FileNotFoundError: if data.root is missing or holds no tables.
        ValueError: if a table has no image column, another one than the first, or is damaged, if all bytes do
            not fit in reading.memory_gb, or from :func:`scan`.
    """
    files = _files(settings)
    if not files[split]:
        return None
    first = _open(files["train"][0])
    column, leaf = _image_column(first.schema_arrow, files["train"][0])
    tables = [_open(file) for file in files[split]]
    for file, table in zip(files[split], tables, strict=True):
        if _image_column(table.schema_arrow, file) != (column, leaf):
            raise ValueError(
                f"{file} holds its images otherwise than {files['train'][0]} does (column {column}, bytes in {leaf}); "
                "write all files of data.root in one way"
            )
    n_rows = sum(table.metadata.num_rows for table in tables)
    n_bytes = sum(_column_bytes(table, leaf) for table in tables)
    if n_bytes > reading.memory_gb * 1e9:
        raise ValueError(
            f"data.root={settings.root}: the encoded images of {split} take {n_bytes / 1e9:.3g} GB, "
            f"reading.memory_gb={reading.memory_gb:g}; "
            "raise it, or unpack the images and use data=folder"
        )
    everything = tables + [_open(file) for other in files if other != split for file in files[other]]
    samples, labels, classes = _rows(tables, everything, split, column)
    chosen = evenly_spaced(n_rows, settings.limit)
    rows = torch.tensor(chosen, dtype=torch.int64)
    images = EncodedImages(
        fetch=partial(_fetch, files[split], leaf),
        rows=rows,
        samples=[samples[i] for i in chosen],
        n_channels=settings.n_channels or _probe_channels(first, column, leaf),
        labels=labels[rows] if labels is not None and settings.labels == "auto" else None,
        classes=classes if settings.labels == "auto" else None,
        fingerprint=fingerprint(settings.limit, files=((file.name, str(file)) for file in files[split])),
    )
    # All bytes fit into memory, so there are never too many images to decode each once.
    return scan(images, settings, reading, split, "all" if reading.check == "auto" else reading.check)


def _files(settings: Parquet) -> dict[str, list[Path]]:
    root = Path(settings.root)
    files = sorted(root.glob("[!.]*.parquet")) or sorted((root / "data").glob("[!.]*.parquet"))
    if not files:
        files = sorted(root.glob("[!.]*/[!.]*.parquet"))
        folders = sorted({file.parent for file in files})
        if len(folders) > 1:
            raise ValueError(
                f"data.root={root} has .parquet files in several folders: {', '.join(f.name for f in folders)}; "
                f"choose one, as in data.root={folders[0]}"
            )
    if not files:
        what = "has no .parquet files" if root.is_dir() else "is not a folder"
        raise FileNotFoundError(
            f"data.root={root} {what}; looked for {root}/*.parquet, {root}/data/*.parquet and {root}/*/*.parquet"
        )
    by_split: dict[str, list[Path]] = {}
    for split, prefixes in SPLIT_PREFIXES.items():
        groups = ([file for file in files if file.name.startswith(prefix)] for prefix in prefixes)
        by_split[split] = next((group for group in groups if group), [])
    if not by_split["train"] and by_split["test"]:
        raise ValueError(f"data.root={root} has {by_split['test'][0].name} but no train*.parquet; rename the files")
    return by_split if by_split["train"] else {"train": files, "test": []}


def _open(file: Path) -> Any:
    try:
        return pq.ParquetFile(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise ValueError(f"{file} is damaged or no parquet file: {error}") from error


def _image_column(schema: Any, file: Path) -> tuple[str, str]:
    """Name of the image column, and of the leaf that holds the bytes."""
    leaves = {}
    for field in schema:
        if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
            leaves[field.name] = f"{field.name}.bytes"
        elif pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
            leaves[field.name] = field.name
    name = next((name for name in _IMAGE_COLUMNS if name in leaves), None)
    if name is None and len(leaves) == 1:
        name = next(iter(leaves))
    if name is None:
        raise ValueError(
            f"{file} has the columns {', '.join(schema.names)}; one must hold images, as bytes or a struct "
            f"with bytes, and be called {' or '.join(_IMAGE_COLUMNS)} if there are several"
        )
    return name, leaves[name]


def _column_bytes(table: Any, leaf: str) -> int:
    groups = (table.metadata.row_group(i) for i in range(table.metadata.num_row_groups))
    columns = (group.column(i) for group in groups for i in range(group.num_columns))
    return sum(column.total_uncompressed_size for column in columns if column.path_in_schema == leaf)


def _rows(
    tables: list[Any], everything: list[Any], split: str, column: str
) -> tuple[list[str], Tensor | None, list[str] | None]:
    """Identities, labels (-1: none) and the labels' names of all rows; the bytes are not read.

    Args:
        tables: the split's files.
        everything: those of both splits, which share their classes.
    """
    schema = tables[0].schema_arrow
    n_rows = sum(table.metadata.num_rows for table in tables)
    if n_rows == 0:
        raise FileNotFoundError(
            f"the {split} files in data.root hold no images: they have no rows; give a folder with filled files"
        )
    samples = [f"{split}/{i}" for i in range(n_rows)]
    type_ = schema.field(column).type
    if pa.types.is_struct(type_) and type_.get_field_index("path") >= 0:
        parts = [table.read([f"{column}.path"]).column(column) for table in tables]
        paths = [path for part in parts for path in pc.struct_field(part, "path").to_pylist()]
        if all(paths) and len(set(paths)) == n_rows:
            samples = [str(path) for path in paths]
    named = [name for name in _LABEL_COLUMNS if name in schema.names]
    label = next((name for name in named if pa.types.is_integer(schema.field(name).type)), None)
    if label is not None:
        values = [_integers(table, label) for table in tables]
        return samples, torch.from_numpy(np.concatenate(values).astype(np.int64)), _class_names(schema, label)
    label = next((name for name in named if _is_text(schema.field(name).type)), None)
    if label is not None:
        classes = sorted({name for table in everything for name in _texts(table, label) if name is not None})
        numbers = {name: number for number, name in enumerate(classes)}
        labels = [-1 if name is None else numbers[name] for table in tables for name in _texts(table, label)]
        return samples, torch.tensor(labels, dtype=torch.int64), classes
    if named:
        kind = schema.field(named[0]).type
        _log.warning("column %s of the %s files is %s; only integers and text are labels", named[0], split, kind)
    return samples, None, None


def _integers(table: Any, label: str) -> Any:
    """The labels of one file, -1 where there is none."""
    if label not in table.schema_arrow.names:
        return np.full(table.metadata.num_rows, -1)
    return pc.fill_null(table.read([label]).column(label).cast(pa.int64()), -1).to_numpy()


def _is_text(kind: Any) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _texts(table: Any, label: str) -> list[str | None]:
    """The labels of one file that has them as text, None where there is none."""
    if label not in table.schema_arrow.names:
        return [None] * table.metadata.num_rows
    texts: list[str | None] = table.read([label]).column(label).cast(pa.string()).to_pylist()
    return texts


def _class_names(schema: Any, label: str) -> list[str] | None:
    """The names that the datasets library stores beside the table."""
    try:
        info = json.loads((schema.metadata or {})[b"huggingface"])
        return [str(name) for name in info["info"]["features"][label]["names"]]
    except (KeyError, TypeError, ValueError):
        return None


def _fetch(files: list[Path], leaf: str) -> tuple[Tensor, Tensor]:
    """All rows' bytes as one uint8 tensor, and the (rows + 1,) offsets into it; a null row has no bytes."""
    data, lengths = [], []
    for file in files:
        try:
            column = _flat(_open(file).read([leaf]).column(0), leaf)
        except (OSError, pa.ArrowException) as error:
            raise ValueError(f"{file} is damaged: {error}") from error
        for chunk in column.chunks:
            array = pc.fill_null(chunk, b"").cast(pa.large_binary())
            offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
            if len(array):
                lengths.append(np.diff(offsets))
                data.append(np.frombuffer(array.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]])
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    return torch.from_numpy(np.concatenate(data)), torch.from_numpy(offsets)


def _flat(column: Any, leaf: str) -> Any:
    return pc.struct_field(column, "bytes") if leaf.endswith(".bytes") else column


def _probe_channels(table: Any, column: str, leaf: str) -> int:
    """1 if the first images of the training table are all grey, else 3, or what an array among them has."""
    batch = next(table.iter_batches(batch_size=_N_PROBED, columns=[leaf]))
    for data in _flat(batch.column(column), leaf).to_pylist():
        try:
            n_channels = channels_of(data or b"")
        except BrokenImage:
            continue  # the scan reports it
        if n_channels != 1:
            return n_channels
    return 1
