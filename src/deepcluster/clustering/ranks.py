"""What G processes offer to an algorithm that runs on all of them. Next: kmeans_shares.py."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from torch import Tensor


def _own(tensors: list[Tensor]) -> list[Tensor]:
    return tensors


def _alone(what: str) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(kw_only=True)
class Ranks:
    """Rank, number and sums of G processes, as values: files of this room know no process group.

    training/clusterer.py fills it in; the defaults are those of a single process.

    Args:
        rank: this process's number, 0 to G - 1.
        size: G.
        sum: gives each of the tensors summed over the processes, on every process.
        together: wraps local work; if it fails on one process, it raises on all.
    """

    rank: int = 0
    size: int = 1
    sum: Callable[[list[Tensor]], list[Tensor]] = _own
    together: Callable[[str], AbstractContextManager[None]] = _alone

    def summed(self, work: Callable[[], list[Tensor]]) -> list[Tensor]:
        """The tensors that `work` returns on each process, summed over the processes."""
        with self.together("clustering"):
            mine = work()
        return self.sum(mine)
