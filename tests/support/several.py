"""G ranks as threads of this process, whose sums really meet: for the maths of several processes in one."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

from torch import Tensor

from deepcluster.clustering.ranks import Ranks

T = TypeVar("T")
PATIENCE_S = 60


class Meeting:
    """What G threads bring, handed to each of them."""

    def __init__(self, size: int) -> None:
        self.brought: list[Any] = [None] * size
        self.barrier = threading.Barrier(size, timeout=PATIENCE_S)

    def exchange(self, rank: int, value: Any) -> list[Any]:
        self.brought[rank] = value
        self.barrier.wait()
        everything = list(self.brought)
        self.barrier.wait()
        return everything


def on_ranks(size: int, work: Callable[[Ranks], T]) -> list[T | Exception]:
    """What `work` gives, or raises, on each of `size` ranks."""
    meeting = Meeting(size)
    results: list[T | Exception] = [RuntimeError("did not end")] * size

    def ranks(rank: int) -> Ranks:
        def total(tensors: list[Tensor]) -> list[Tensor]:
            parts = meeting.exchange(rank, tensors)
            return [sum((part[i] for part in parts[1:]), start=parts[0][i].clone()) for i in range(len(tensors))]

        @contextmanager
        def together(what: str) -> Any:
            error: Exception | None = None
            try:
                yield
            except Exception as caught:
                error = caught
            failed = [e for e in meeting.exchange(rank, error) if e is not None]
            if error is not None:
                raise error
            if failed:
                raise RuntimeError(f"{what} failed on another rank: {failed[0]}")

        guard: Callable[[str], AbstractContextManager[None]] = together
        return Ranks(rank=rank, size=size, sum=total, together=guard)

    def run(rank: int) -> None:
        try:
            results[rank] = work(ranks(rank))
        except Exception as error:
            results[rank] = error

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    return results
