"""Sets of images: what every source becomes. Next: views.py cuts crops from them, loader.py batches."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from deepcluster.data.cache import fingerprint
from deepcluster.data.decode import WHITE, BrokenImage, read_file, to_channels
from deepcluster.data.shrunk import Shrink, Shrunk, decode_shrunk, whole
from deepcluster.data.sources.lazy_strings import LazyStrings

D = TypeVar("D", bound="DecodedImages")


class ImageSet(Protocol):
    """N images with their identities; it never knows a pseudo-label (contract 1: labels cannot go stale).

    Attributes:
        labels: (N,) int64, -1 for images without one; None if the set has no labels. Only reports read them.
        classes: the labels' names.
        samples: N stable identities, such as "train/cat/7.jpg" or "train/17".
        n_channels: C of every image.
        skipped: broken images that were left out, as (identity, reason).
        contents: (M, 2) int64, number and content of all or of some images (contents.py); None: not looked at.
    """

    labels: Tensor | None
    classes: list[str] | None
    samples: Sequence[str]
    n_channels: int
    skipped: list[tuple[str, str]]
    contents: Tensor | None

    def __len__(self) -> int: ...

    def read(self, i: int) -> Tensor:
        """Image i, uint8 (C, H, W)."""
        ...


@dataclass(kw_only=True)
class MemoryImages:
    """Images of one size, decoded, in memory: uint8 (N, C, H, W)."""

    images: Tensor
    samples: Sequence[str]
    labels: Tensor | None = None
    classes: list[str] | None = None
    skipped: list[tuple[str, str]] = field(default_factory=list)
    contents: Tensor | None = None

    def __post_init__(self) -> None:
        assert self.images.dtype == torch.uint8 and self.images.ndim == 4, "MemoryImages holds uint8 (N, C, H, W)"
        assert len(self.samples) == len(self.images), "one identity per image"
        assert self.labels is None or len(self.labels) == len(self.images), "one label per image"
        self.n_channels: int = self.images.shape[1]

    def __len__(self) -> int:
        return len(self.images)

    def read(self, i: int) -> Tensor:
        return self.images[i]


@dataclass(kw_only=True)
class DecodedImages:
    """What sets share whose images are decoded at each access; each says how it gets one as it is stored.

    Args:
        fingerprint: changes when the images do.
        on_broken: reading.on_broken, for images that turn out broken after the scan.
        broken_later: these: index -> reason.
        timeout_s: reading.timeout_s.
        scaled: reading.decode=scaled.
        max_value: reading.max_value.
    """

    samples: Sequence[str]
    n_channels: int
    labels: Tensor | None = None
    classes: list[str] | None = None
    skipped: list[tuple[str, str]] = field(default_factory=list)
    contents: Tensor | None = None
    fingerprint: str = ""
    on_broken: str = "error"
    broken_later: dict[int, str] = field(default_factory=dict)
    timeout_s: float | None = None
    scaled: bool = False
    max_value: int = WHITE

    def __len__(self) -> int:
        return len(self.samples)

    def fetch_encoded(self) -> None:
        """Fetch what all images need; called once, before threads or workers read."""

    def read(self, i: int) -> Tensor:
        """Image i, uint8 (C, H, W).

        Raises:
            BrokenImage: naming the image.
        """
        return self.decode(i, self.stored(i), None).pixels

    def read_shrunk(self, i: int, shrink: Shrink) -> Shrunk:
        """Image i, if `scaled` perhaps decoded smaller.

        Raises:
            BrokenImage: naming the image.
        """
        return self.decode(i, self.stored(i), shrink if self.scaled else None)

    def stored(self, i: int) -> bytes | Tensor:
        """Image i as it is stored: encoded bytes, or pixels uint8 (C, H, W).

        Raises:
            BrokenImage: naming the image.
        """
        raise NotImplementedError

    def decode(self, i: int, stored: bytes | Tensor, shrink: Shrink | None) -> Shrunk:
        """Image i from what :meth:`stored` gave, as small as `shrink` allows; None: as it is."""
        if isinstance(stored, bytes):
            return decode_shrunk(stored, self.n_channels, self.samples[i], shrink, self.max_value)
        n_channels = stored.shape[0]
        if n_channels != self.n_channels and max(n_channels, self.n_channels) > 4:
            raise BrokenImage(f"it has {n_channels} channels, the set {self.n_channels}", self.samples[i])
        return whole(to_channels(stored, self.n_channels))

    def state(self, chosen: Sequence[int]) -> str:
        """Changes when the files of these images are written anew; "" where `fingerprint` tells it."""
        return ""

    def take(self: D, indices: Sequence[int]) -> D:
        """The set of these images only; what they are read from is shared."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        samples = self.samples
        return replace(
            self,
            samples=samples.take(chosen) if isinstance(samples, LazyStrings) else [samples[i] for i in indices],
            labels=None if self.labels is None else self.labels[chosen],
            broken_later={},
            contents=None,
            **self.places(chosen),
        )

    def places(self, chosen: Tensor) -> dict[str, Any]:
        """What else of a set goes by image, of these (n,) int64 only."""
        return {}


@dataclass(kw_only=True)
class FileImages(DecodedImages):
    """Image files under `root`; `samples` are their posix paths relative to it."""

    root: Path

    def path(self, i: int) -> str:
        """Where image i is."""
        return os.path.join(self.root, self.samples[i])

    def stored(self, i: int) -> bytes:
        return read_file(self.path(i))

    def decode(self, i: int, stored: bytes | Tensor, shrink: Shrink | None) -> Shrunk:
        assert isinstance(stored, bytes)
        return decode_shrunk(stored, self.n_channels, self.path(i), shrink, self.max_value)

    def state(self, chosen: Sequence[int]) -> str:
        return fingerprint(files=((self.samples[i], self.path(i)) for i in chosen))


@dataclass(kw_only=True)
class EncodedImages(DecodedImages):
    """Encoded images (PNG, JPEG, WebP bytes) from a table, held in memory.

    The bytes are fetched by `fetch_encoded`, because a set whose decoded images are remembered never needs them.

    Args:
        fetch: gives all rows' bytes as one uint8 tensor and the (rows + 1,) offsets into it.
        rows: (N,) int64, which rows of the table the images are.
    """

    fetch: Callable[[], tuple[Tensor, Tensor]]
    rows: Tensor
    encoded: tuple[Tensor, Tensor] | None = None

    def fetch_encoded(self) -> None:
        """Fetch the bytes."""
        if self.encoded is None:
            self.encoded = self.fetch()

    def stored(self, i: int) -> bytes:
        assert self.encoded is not None, "fetch_encoded() comes before the first read"
        data, offsets = self.encoded
        row = int(self.rows[i])
        return bytes(data[offsets[row] : offsets[row + 1]].numpy())

    def places(self, chosen: Tensor) -> dict[str, Any]:
        return {"rows": self.rows[chosen]}


def read_shrunk(images: ImageSet, i: int, shrink: Shrink) -> Shrunk:
    """Image i of any set, perhaps decoded smaller."""
    return images.read_shrunk(i, shrink) if isinstance(images, DecodedImages) else whole(images.read(i))


def evenly_spaced(n_all: int, limit: int | None) -> list[int]:
    """Indices of `limit` images spread evenly over n_all; all of them if there are no more."""
    n = n_all if limit is None else min(limit, n_all)
    return [i * n_all // n for i in range(n)]


def size_of_first(images: ImageSet) -> tuple[int, int]:
    """Height and width of the first image that can be decoded; (0, 0) if none of the first ten can."""
    for i in range(min(10, len(images))):
        try:
            pixels = images.read(i)
        except BrokenImage:
            continue
        return pixels.shape[1], pixels.shape[2]
    return 0, 0
