"""The same few images written in any order and into shards of any size, as Hugging Face's and litdata's tools do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from reference.pictures import encoded, picture


def png(number: int) -> bytes:
    return encoded(picture(number, 16, 16), "PNG")


def label_of(number: int) -> int:
    return number % 3


def huggingface(
    order: Sequence[int], folder: Path | None = None, *, n_shards: int = 1, paths: bool = True, **more: Any
) -> Any:
    """A set of these images in this order, in `save_to_disk`'s form if there is a folder.

    Args:
        more: further columns, name -> values; `label=None` leaves the labels out.
    """
    datasets = pytest.importorskip("datasets")
    columns = {
        "image": [{"bytes": png(i), "path": f"{i:03}.png" if paths else None} for i in order],
        "label": [label_of(i) for i in order],
    } | more
    columns = {name: values for name, values in columns.items() if values is not None}
    made = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image(decode=False))
    made = made.cast_column("image", datasets.Image())
    if "label" in columns and "label" not in more:
        made = made.cast_column("label", datasets.ClassLabel(names=["x", "y", "z"]))
    if folder is not None:
        made.save_to_disk(str(folder), num_shards=n_shards)
    return made


def litdata(items: Sequence[Any], folder: Path, *, chunk_size: int = 7) -> Path:
    """These items in chunks, as litdata.optimize leaves them."""
    cache = pytest.importorskip("litdata.streaming.cache")
    folder.mkdir(parents=True)
    writer = cache.Cache(str(folder), chunk_size=chunk_size)
    for i, item in enumerate(items):
        writer[i] = item
    writer.done()
    writer.merge(1)
    return folder


def records(order: Sequence[int]) -> list[dict[str, Any]]:
    return [{"image": png(i), "label": label_of(i)} for i in order]
