"""Sets of images: what every source becomes. Next: views.py cuts crops from them, loader.py batches."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from deepcluster.data.decode import decode_file, decode_named


class ImageSet(Protocol):
    """N images with their identities; it never knows a pseudo-label (contract 1: labels cannot go stale).

    Attributes:
        labels: (N,) int64, -1 for images without one; None if the set has no labels. Only reports read them.
        classes: the labels' names.
        samples: N stable identities, such as "train/cat/7.jpg" or "train/17".
        n_channels: C of every image.
        skipped: broken images that were left out, as (identity, reason).
    """

    labels: Tensor | None
    classes: list[str] | None
    samples: Sequence[str]
    n_channels: int
    skipped: list[tuple[str, str]]

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
class FileImages:
    """Image files under `root`, decoded at each access; `samples` are their posix paths relative to it.

    `fingerprint` changes when the files do. `on_broken` is data.on_broken, for images that turn out broken after the
    scan, and `broken_later` collects these: index -> reason. `timeout_s` is data.timeout_s.
    """

    root: Path
    samples: Sequence[str]
    n_channels: int
    labels: Tensor | None = None
    classes: list[str] | None = None
    skipped: list[tuple[str, str]] = field(default_factory=list)
    fingerprint: str = ""
    on_broken: str = "error"
    broken_later: dict[int, str] = field(default_factory=dict)
    timeout_s: float | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def prepare(self) -> None:
        """Nothing to do before the first access."""

    def read(self, i: int) -> Tensor:
        """Image i, uint8 (C, H, W).

        Raises:
            BrokenImage: naming the file.
        """
        return decode_file(os.path.join(self.root, self.samples[i]), self.n_channels)

    def take(self, indices: Sequence[int]) -> "FileImages":
        """The set of these images only."""
        return FileImages(
            root=self.root,
            samples=[self.samples[i] for i in indices],
            n_channels=self.n_channels,
            labels=None if self.labels is None else self.labels[torch.as_tensor(indices, dtype=torch.int64)],
            classes=self.classes,
            skipped=self.skipped,
            fingerprint=self.fingerprint,
            on_broken=self.on_broken,
            timeout_s=self.timeout_s,
        )


@dataclass(kw_only=True)
class EncodedImages:
    """Encoded images (PNG, JPEG, WebP bytes) from a table, held in memory, decoded at each access.

    The bytes are fetched by `prepare`, because a set whose decoded images are remembered never needs them.
    `fingerprint`, `on_broken`, `broken_later` and `timeout_s` are as in FileImages.

    Args:
        fetch: gives all rows' bytes as one uint8 tensor and the (rows + 1,) offsets into it.
        rows: (N,) int64, which rows of the table the images are.
    """

    fetch: Callable[[], tuple[Tensor, Tensor]]
    rows: Tensor
    samples: Sequence[str]
    n_channels: int
    labels: Tensor | None = None
    classes: list[str] | None = None
    skipped: list[tuple[str, str]] = field(default_factory=list)
    fingerprint: str = ""
    encoded: tuple[Tensor, Tensor] | None = None
    on_broken: str = "error"
    broken_later: dict[int, str] = field(default_factory=dict)
    timeout_s: float | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def prepare(self) -> None:
        """Fetch the bytes; called once, before threads or workers read."""
        if self.encoded is None:
            self.encoded = self.fetch()

    def read(self, i: int) -> Tensor:
        """Image i, uint8 (C, H, W).

        Raises:
            BrokenImage: naming the image.
        """
        assert self.encoded is not None, "prepare() comes before the first read"
        data, offsets = self.encoded
        row = int(self.rows[i])
        return decode_named(bytes(data[offsets[row] : offsets[row + 1]].numpy()), self.n_channels, self.samples[i])

    def take(self, indices: Sequence[int]) -> "EncodedImages":
        """The set of these images only; the bytes are shared."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        return EncodedImages(
            fetch=self.fetch,
            rows=self.rows[chosen],
            samples=[self.samples[i] for i in indices],
            n_channels=self.n_channels,
            labels=None if self.labels is None else self.labels[chosen],
            classes=self.classes,
            skipped=self.skipped,
            fingerprint=self.fingerprint,
            on_broken=self.on_broken,
            timeout_s=self.timeout_s,
            encoded=self.encoded,
        )


def evenly_spaced(n_all: int, limit: int | None) -> list[int]:
    """Indices of `limit` images spread evenly over n_all; all of them if there are no more."""
    n = n_all if limit is None else min(limit, n_all)
    return [i * n_all // n for i in range(n)]
