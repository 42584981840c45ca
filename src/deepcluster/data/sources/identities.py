"""Who an image is, whatever shard it lies in: identities in little memory, and the order that they give a set.

Sets of rows (Hugging Face's, litdata's) are put in the order of their identities, so that the same images written in
another order or into other shards are the same set: the same draws, the same clusters, a run that can be resumed.
Next: rows.py.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from deepcluster.data.sources.lazy_strings import LazyStrings

_DIGEST_BYTES = 16  # among a billion images the chance that any two share it is below 1e-20


@dataclass(kw_only=True, eq=False)
class Identities(LazyStrings):
    """N strings in one Arrow array: their bytes and 8 more each, where Python's strings take 50 more.

    Args:
        array: of type large_string, without nulls.
    """

    array: Any

    def __len__(self) -> int:
        return len(self.array)

    def at(self, i: int) -> str:
        return str(self.array[int(i)].as_py())

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), 10_000):
            yield from self.array.slice(start, 10_000).to_pylist()

    def tensors(self) -> dict[str, Tensor]:
        """What :func:`from_tensors` reads."""
        array = pa.concat_arrays([self.array])  # its own buffers, from their beginning
        data, offsets = array.buffers()[2] or b"", array.buffers()[1]
        ends = np.frombuffer(offsets, np.int64)[: len(array) + 1] if len(array) else np.zeros(1, np.int64)
        return {
            "data": torch.from_numpy(np.frombuffer(data, np.uint8)[: ends[-1]].copy()),
            "offsets": torch.from_numpy(ends.copy()),
        }

    def take(self, indices: Sequence[int] | Tensor) -> "Identities":
        """Those of these numbers, in this order."""
        return Identities(array=self.array.take(pa.array(np.asarray(indices, dtype=np.int64))))


def identities(names: Any) -> Identities:
    """Of a list of strings, or of an Arrow array of strings or numbers."""
    array = names if isinstance(names, pa.Array | pa.ChunkedArray) else pa.array(names, pa.large_string())
    array = array.cast(pa.large_string())
    return Identities(array=array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array)


def from_tensors(tensors: dict[str, Tensor]) -> Identities:
    """The inverse of :meth:`Identities.tensors`."""
    data, offsets = tensors["data"].numpy(), tensors["offsets"].numpy()
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return Identities(array=pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers))


def content_identity(data: bytes | Tensor) -> str:
    """A hash of an image's encoded bytes, or of its pixels uint8 (C, H, W) with their shape."""
    digest = blake2b(digest_size=_DIGEST_BYTES)
    if isinstance(data, Tensor):
        digest.update(repr(tuple(data.shape)).encode())
        data = data.contiguous().numpy().tobytes()
    digest.update(data)
    return digest.hexdigest()


def first_repeated(stored: Identities) -> str | None:
    """One that stands there twice; None if all differ."""
    if int(pc.count_distinct(stored.array).as_py()) == len(stored):
        return None
    return next(name for name, n in Counter(stored).items() if n > 1)


def by_identity(stored: Identities, labels: Tensor | None) -> tuple[Identities, Tensor]:
    """The canonical order of a set: ascending by identity, images of one identity by label.

    Args:
        stored: N identities, in the order of storage.
        labels: (N,) int64 or None.

    Returns:
        The identities in canonical order, where those that are there several times get "#2", "#3" ...; and (N,) int64,
        the place in storage of each. Images that share identity and label are alike, so it does not matter which of
        them is the second.
    """
    order = torch.arange(len(stored)) if labels is None else torch.argsort(labels, stable=True)
    ranks = pc.sort_indices(stored.array.take(pa.array(order.numpy())))  # stable
    order = order[torch.from_numpy(ranks.to_numpy().astype(np.int64))]
    ordered = stored.take(order)
    if first_repeated(ordered) is not None:
        ordered = identities(_numbered(ordered))
    return ordered, order


def _numbered(ordered: Identities) -> list[str]:
    names: list[str] = []
    before, n = None, 0
    for name in ordered:
        n = n + 1 if name == before else 1
        before = name
        names.append(name if n == 1 else f"{name}#{n}")
    return names
