"""What images hold, in 8 bytes each: whether a run still sees the same ones, and how many are copies of others.

scan.py makes the table while it reads each file anyway; a run writes it beside the images' names
(clustering/history.py).
"""

from collections.abc import Callable, Sequence
from hashlib import sha256

import torch
from torch import Tensor

UNKNOWN = 0  # the digest of an image that cannot be read


def content_digest(stored: bytes | Tensor) -> int:
    """A hash of an image as it is stored: encoded bytes, or pixels uint8 (C, H, W) with their shape."""
    digest = sha256()  # processors have instructions for it: 5 % of the time that decoding a JPEG takes
    if isinstance(stored, Tensor):
        digest.update(repr(tuple(stored.shape)).encode())
        stored = stored.contiguous().numpy().tobytes()
    digest.update(stored)
    return int.from_bytes(digest.digest()[:8], "little", signed=True) or 1


def contents(images: Sequence[int], digests: Sequence[int] | Tensor) -> Tensor:
    """(M, 2) int64: an image's number and its digest, of those that could be read."""
    table = torch.stack([torch.as_tensor(images, dtype=torch.int64), torch.as_tensor(digests, dtype=torch.int64)], 1)
    return table[table[:, 1] != UNKNOWN]


def contents_of(read: Callable[[int], Tensor], images: Sequence[int]) -> Tensor:
    """The contents of images that are in memory."""
    return contents(images, [content_digest(read(i)) for i in images])


def tell_copies(table: Tensor | None) -> str | None:
    """A sentence if most images are exact copies of others, which no clustering can tell apart; else None."""
    if table is None or len(table) < 2:
        return None
    n, n_distinct = len(table), len(torch.unique(table[:, 1]))
    if n_distinct > n / 2:  # from there on an image meets on average another copy of itself in its cluster
        return None
    what = "all are copies of one image" if n_distinct == 1 else f"there are only {n_distinct:,} different ones"
    identical = f"most of {n:,} images are identical, byte for byte"
    return f"{identical}: {what}; remove the copies, clusters of them say nothing"
