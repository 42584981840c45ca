"""Images in the rows of a store (an Arrow table, litdata's chunks), read one by one. Next: tables.py, scan.py."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from deepcluster.data.decode import BrokenImage, decode_named, to_channels
from deepcluster.data.identities import Identities
from deepcluster.data.images import EncodedImages, FileImages


class Rows(Protocol):
    """A store of images by row number; it is read by threads, and pickled or forked into workers."""

    def read(self, row: int) -> bytes | Tensor:
        """The row's image: encoded bytes, or pixels uint8 (C, H, W).

        Raises:
            BrokenImage: with the reason; UnreadableImage if the store itself cannot be read.
        """
        ...


@dataclass(kw_only=True)
class RowImages:
    """Images decoded at each access from the rows of a store.

    `fingerprint`, `on_broken`, `broken_later` and `timeout_s` are as in FileImages.

    Args:
        store: where they are.
        rows: (N,) int64, which row each image is: the images' order is not the store's.
    """

    store: Rows
    rows: Tensor
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
        return len(self.rows)

    def prepare(self) -> None:
        """Nothing to do before the first access."""

    def read(self, i: int) -> Tensor:
        """Image i, uint8 (C, H, W).

        Raises:
            BrokenImage: naming the image.
        """
        try:
            data = self.store.read(int(self.rows[i]))
        except BrokenImage as error:
            raise type(error)(error.reason, self.samples[i]) from error
        if isinstance(data, bytes):
            return decode_named(data, self.n_channels, self.samples[i])
        n_channels = data.shape[0]
        if n_channels != self.n_channels and max(n_channels, self.n_channels) > 4:
            raise BrokenImage(f"it has {n_channels} channels, the set {self.n_channels}", self.samples[i])
        return to_channels(data, self.n_channels)

    def take(self, indices: Sequence[int]) -> "RowImages":
        """The set of these images only."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        samples = self.samples
        return RowImages(
            store=self.store,
            rows=self.rows[chosen],
            samples=samples.take(chosen) if isinstance(samples, Identities) else [samples[i] for i in indices],
            n_channels=self.n_channels,
            labels=None if self.labels is None else self.labels[chosen],
            classes=self.classes,
            skipped=self.skipped,
            fingerprint=self.fingerprint,
            on_broken=self.on_broken,
            timeout_s=self.timeout_s,
        )


DecodedImages = FileImages | EncodedImages | RowImages  # those that are decoded at each access
