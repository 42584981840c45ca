"""Reads pickles of plain containers and numpy arrays. Unlike pickle.load it cannot run code that a file names.

Used by revisited.py.
"""

import io
import pickle
from typing import Any

import numpy as np

# The only names that a pickle may ask for (those of sets and of arrays of numpy 1 and 2), and what it gets.
_ARRAY_BUILDER = np.zeros(1).__reduce__()[0]
_BUFFER_BUILDER = np.zeros(1).__reduce_ex__(5)[0]
_SCALAR_BUILDER = np.float64(0).__reduce__()[0]
_KNOWN: dict[tuple[str, str], Any] = {
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _ARRAY_BUILDER for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _BUFFER_BUILDER for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _SCALAR_BUILDER for core in ("core", "_core")},
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes in old protocols
            return _latin1
        if (module, name) in (("__builtin__", "bytes"), ("builtins", "bytes")):  # how it writes empty bytes
            return _no_bytes
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _KNOWN[module, name]


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


def loads(data: bytes) -> Any:
    """The content of a pickle of dicts, lists, strings, numbers and numpy arrays; also of one written by Python 2.

    Raises:
        ValueError: if it is damaged, or asks for any other name, which could run any code.
    """
    try:
        return _PlainUnpickler(io.BytesIO(data), encoding="latin1").load()
    except Exception as error:  # damaged pickles raise errors of all kinds
        raise ValueError(f"not a pickle of plain containers and numpy arrays ({error})") from error
