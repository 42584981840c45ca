"""Images in the rows of a store (an Arrow table, litdata's chunks), read one by one. Next: tables.py, scan.py."""

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from deepcluster.data.decode import BrokenImage, to_channels
from deepcluster.data.images import DecodedImages
from deepcluster.data.shrunk import Shrink, Shrunk, decode_shrunk, whole


class Rows(Protocol):
    """A store of images by row number; it is read by threads, and pickled or forked into workers."""

    def read(self, row: int) -> bytes | Tensor:
        """The row's image: encoded bytes, or pixels uint8 (C, H, W).

        Raises:
            BrokenImage: with the reason; UnreadableImage if the store itself cannot be read.
        """
        ...


@dataclass(kw_only=True)
class RowImages(DecodedImages):
    """Images in the rows of a store.

    Args:
        store: where they are.
        rows: (N,) int64, which row each image is: the images' order is not the store's.
    """

    store: Rows
    rows: Tensor

    def decode(self, i: int, shrink: Shrink | None) -> Shrunk:
        try:
            data = self.store.read(int(self.rows[i]))
        except BrokenImage as error:
            raise type(error)(error.reason, self.samples[i]) from error
        if isinstance(data, bytes):
            return decode_shrunk(data, self.n_channels, self.samples[i], shrink)
        n_channels = data.shape[0]
        if n_channels != self.n_channels and max(n_channels, self.n_channels) > 4:
            raise BrokenImage(f"it has {n_channels} channels, the set {self.n_channels}", self.samples[i])
        return whole(to_channels(data, self.n_channels))

    def places(self, chosen: Tensor) -> dict[str, Any]:
        return {"rows": self.rows[chosen]}
