"""Images in the rows of a store (an Arrow table, litdata's chunks), read one by one. Next: tables.py, scan.py."""

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from deepcluster.data.decode import BrokenImage
from deepcluster.data.images import DecodedImages


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

    def stored(self, i: int) -> bytes | Tensor:
        try:
            return self.store.read(int(self.rows[i]))
        except BrokenImage as error:
            raise type(error)(error.reason, self.samples[i]) from error

    def places(self, chosen: Tensor) -> dict[str, Any]:
        return {"rows": self.rows[chosen]}
