"""Data as JavaScript files: a page that is opened from the disk may load scripts, but no JSON.

Each file calls `deliver(NAME, VALUE)`; web/data.js loads it when it is needed. Arrays of numbers are base64, which is
a third of their digits and becomes a typed array at once.
"""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TYPES = {"uint8": "Uint8", "uint16": "Uint16", "int32": "Int32", "float32": "Float32"}


def write_chunk(folder: Path, name: str, value: object) -> None:
    """Write folder/NAME.js. The value: anything of JSON, and numpy arrays of `TYPES`.

    Names of files that are not UTF-8 keep their bytes as lone surrogates, as Python reads them; JSON is ASCII here.
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, default=_packed)
    (folder / f"{name}.js").write_text(f"deliver({json.dumps(name)},{text});\n", encoding="ascii")


def write_in_chunks(folder: Path, name: str, values: Sequence[Any] | NDArray[Any], length: int) -> int:
    """Write values as NAME_0, NAME_1, ... of `length` values each.

    Returns:
        The number of chunks.
    """
    starts = range(0, len(values), length)
    for number, start in enumerate(starts):
        part = values[start : start + length]
        write_chunk(folder, f"{name}_{number}", part.ravel() if isinstance(part, np.ndarray) else list(part))
    return len(starts)


def read_chunk(folder: Path, name: str) -> Any:
    """What :func:`write_chunk` wrote; arrays as numpy arrays. For tests and programs that want the page's data."""
    text = (folder / f"{name}.js").read_text(encoding="ascii")
    return json.loads(text[text.index(",") + 1 : text.rindex(")")], object_hook=_unpacked)


def _packed(array: object) -> dict[str, str]:
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{type(array).__name__} is not written to a page")
    kind = TYPES[str(array.dtype)]
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return {"type": kind, "base64": base64.b64encode(little.tobytes()).decode()}


def _unpacked(value: dict[str, Any]) -> Any:
    if value.keys() != {"type", "base64"}:
        return value
    dtype = next(dtype for dtype, kind in TYPES.items() if kind == value["type"])
    return np.frombuffer(base64.b64decode(value["base64"]), np.dtype(dtype).newbyteorder("<"))
