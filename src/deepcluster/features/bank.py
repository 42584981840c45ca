"""A memory bank: each image's last embeddings, written by the training steps and clustered in place of a pass.

DeepCluster-v2 (Caron et al. 2020) clusters the embeddings of the epoch before, so a reassignment needs no forward
passes. Here the rows are ordered by image, not by batch as in its code, so that shuffles, resumes and other numbers of
processes do not matter. Next: extraction.py reduces the rows.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from deepcluster.system import collectives, distributed


class MemoryBank:
    """The last embeddings of N images, for V views of each, and when they were written.

    Args:
        n_images: N.
        n_views: V, the large crops of an image.
        dim: E.
        dtype: number type in which rows are kept.
    """

    def __init__(self, n_images: int, n_views: int, dim: int, dtype: torch.dtype = torch.float16) -> None:
        self.rows = torch.zeros(n_views, n_images, dim, dtype=dtype)
        self.written = torch.full((n_images,), -1, dtype=torch.int64)  # the step, 0 is the first fill; -1: never

    @staticmethod
    def n_bytes(n_images: int, n_views: int, dim: int) -> int:
        """The memory that it takes, and the room in a checkpoint."""
        return n_images * (n_views * dim * torch.float16.itemsize + torch.int64.itemsize)

    @property
    def is_filled(self) -> bool:
        """Whether every image has been written."""
        return bool((self.written >= 0).all())

    def write(self, indices: Tensor, embeddings: Tensor, *, step: int) -> None:
        """Keep the embeddings (V, B, E) of images (B,); called by each process for its own batch."""
        where = indices.to(self.rows.device)
        self.rows[:, where] = embeddings.to(self.rows)
        self.written[where] = step

    def share(self) -> None:
        """Bring the newest row of each image to all processes; a collective call.

        Where two processes wrote an image in the same step, the lower rank's row is taken.
        """
        size, rank = distributed.world_size(), distributed.rank()
        if size == 1:
            return
        times = torch.full((size, len(self.written)), -1, dtype=torch.int64)
        times[rank] = self.written
        times = collectives.sum_over_ranks([times + 1])[0] - 1  # each process has added zeros for the others
        newest = times.max(dim=0).values
        mine = (times == newest).int().argmax(dim=0) == rank
        self.rows = collectives.sum_over_ranks([self.rows * mine[None, :, None]])[0]
        self.written = newest

    def view(self, number: int) -> "BankRows":
        """The rows of one view, to cluster."""
        return BankRows(self.rows[number % len(self.rows)])

    def state_dict(self) -> dict[str, Any]:
        """The rows of all processes; a collective call."""
        self.share()
        return {"rows": self.rows, "written": self.written}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.rows.copy_(state["rows"])
        self.written.copy_(state["written"])


class BankRows:
    """Stored rows (N, E) in the form of a pass over the images, see RowSource in extraction.py."""

    device = torch.device("cpu")

    def __init__(self, rows: Tensor, batch_size: int = 4096) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.dtype = torch.float32
        self.n_images = len(rows)
        self.seconds = {"features_s": 0.0, "reduction_s": 0.0}

    def stream(self, indices: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (indices (B,), rows (B, E) float32) of these images, in their order."""
        for part in torch.split(indices, self.batch_size) if len(indices) else ():
            yield part, self.rows[part].float()
