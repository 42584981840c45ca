"""Which columns of a Hugging Face set hold the images and the labels, and reading one. Used by huggingface.py."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from deepcluster.data.settings import TableSource
from deepcluster.data.sources.tables import LABEL_NAMES

_BLOCK = 100_000  # rows


def image_column(features: Any, settings: TableSource) -> str:
    """data.image_column, or the only column that holds images.

    Raises:
        ValueError: with a list of the columns, if it holds none, or if none or several do.
    """
    there = listed(features)
    chosen = settings.image_column
    if chosen is not None and chosen not in features:
        raise ValueError(f"data.image_column={chosen}: {settings.place} has the columns {there}")
    if chosen is not None and not (_is(features[chosen], "Image") or _holds_bytes(features[chosen])):
        raise ValueError(f"data.image_column={chosen} holds no images; {settings.place} has the columns {there}")
    if chosen is not None:
        return chosen
    candidates = [name for name, feature in features.items() if _is(feature, "Image")]
    candidates = candidates or [name for name, feature in features.items() if _holds_bytes(feature)]
    if len(candidates) != 1:
        what = "several of which may hold the images" if candidates else "none of which holds images"
        raise ValueError(f"{settings.place} has the columns {there}, {what}; say which: data.image_column=NAME")
    return str(candidates[0])


def _is(feature: Any, kind: str) -> bool:
    return type(feature).__name__ == kind  # the library is slow to import and need not be there


def _holds_bytes(feature: Any) -> bool:
    """Encoded images in a table that says nothing of its images."""
    feature = feature.get("bytes") if isinstance(feature, dict) else feature
    return getattr(feature, "dtype", None) in ("binary", "large_binary")


def listed(features: Any) -> str:
    """The columns and what they hold."""
    kinds = {name: f.dtype if _is(f, "Value") else type(f).__name__ for name, f in features.items()}
    return ", ".join(f"{name} ({kind})" for name, kind in kinds.items())


def label_column(features: Any, settings: TableSource) -> str | None:
    """data.label_column, or the only ClassLabel, or integers or text of a usual name; None without any.

    Raises:
        ValueError: with a list of the columns, if it holds no labels, or if several are ClassLabels.
    """
    chosen = settings.label_column
    there = listed(features)
    if chosen is not None and chosen not in features:
        raise ValueError(f"data.label_column={chosen}: {settings.place} has the columns {there}")
    if chosen is not None and not (is_integer(features[chosen]) or is_text(features[chosen])):
        raise ValueError(
            f"data.label_column={chosen} holds no labels (a ClassLabel, integers or text); {settings.place} has the "
            f"columns {there}"
        )
    if chosen is not None:
        return chosen
    candidates = [name for name, feature in features.items() if _is(feature, "ClassLabel")]
    if len(candidates) > 1:
        raise ValueError(
            f"{settings.place} has the columns {there}, several of which hold labels; say which: "
            "data.label_column=NAME, or data.labels=none for none"
        )
    usable = [name for name in LABEL_NAMES if name in features]
    candidates = candidates or [name for name in usable if is_integer(features[name]) or is_text(features[name])]
    return candidates[0] if candidates else None


def is_integer(feature: Any) -> bool:
    """Integers, or classes."""
    return "int" in str(getattr(feature, "dtype", ""))  # ClassLabel's is int64


def is_text(feature: Any) -> bool:
    """Strings of any length."""
    return getattr(feature, "dtype", None) in ("string", "large_string")


def integers(column: Any) -> NDArray[np.int64]:
    """The labels of an Arrow array, -1 where there is none."""
    labels: NDArray[np.int64] = pc.fill_null(column.cast(pa.int64()), -1).to_numpy().astype(np.int64)
    return labels


def read_column(dataset: Any, column: str, part: str | None = None) -> Any:
    """A column, or a part of a column of structs, as one Arrow array; only that is copied.

    It is asked for in blocks, which heed an order of rows that the set may have of its own.
    """
    tables = dataset.select_columns([column]).with_format("arrow").iter(_BLOCK)
    chunks = [chunk for table in tables for chunk in table.column(0).chunks]
    chunks = chunks if part is None else [pc.struct_field(chunk, part) for chunk in chunks]
    return pa.concat_arrays(chunks) if chunks else pa.array([], pa.null())
