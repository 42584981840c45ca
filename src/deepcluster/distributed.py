"""What G processes need to act as one: sums, gathered rows, shared results and shared failures.

Every function also works in a single process, where it does nothing or returns its argument, so callers
have one path. Tensors travel on the device that the process group's backend serves.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")


def rank() -> int:
    """This process's number, 0 to G - 1; 0 without a process group."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def is_main_process() -> bool:
    """Whether this is the process that writes and speaks; also right before there is a process group."""
    return rank() == 0 and os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("RANK", "0") == "0"


def world_size() -> int:
    """The number of processes G; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@contextmanager
def shared_failure(what: str) -> Iterator[None]:
    """Run local work between two collective operations; if it fails on one rank, every rank raises.

    Without this the others would wait in the next collective until its time-out, 30 minutes by default.
    The failing rank raises its own error, the others a RuntimeError that names the rank and the error.
    """
    error: Exception | None = None
    try:
        yield
    except Exception as caught:
        error = caught
    if world_size() > 1:
        reports: list[str | None] = [None] * world_size()
        dist.all_gather_object(reports, None if error is None else f"{type(error).__name__}: {error}")
        failed = [f"rank {r}: {report}" for r, report in enumerate(reports) if report is not None]
        if failed and error is None:
            raise RuntimeError(f"{what} failed on another process ({'; '.join(failed)})")
    if error is not None:
        raise error


def on_rank_zero(what: str, work: Callable[[], T]) -> T:
    """Do the work on rank 0 and give its result to every rank; a failure is raised on every rank."""
    result: list[Any] = [None]
    with shared_failure(what):
        if rank() == 0:
            result[0] = work()
    if world_size() > 1:
        dist.broadcast_object_list(result, src=0)
    return result[0]  # type: ignore[no-any-return]


def sum_over_ranks(tensors: list[Tensor]) -> list[Tensor]:
    """Each tensor summed over the ranks, on every rank."""
    if world_size() == 1:
        return tensors
    summed = [tensor.to(_wire_device()).contiguous() for tensor in tensors]
    for tensor in summed:
        dist.all_reduce(tensor)
    return [after.to(before.device) for after, before in zip(summed, tensors, strict=True)]


def gather_interleaved(rows: Tensor, n_rows: int) -> Tensor | None:
    """Collect (n_local, P) rows that were dealt out as ``[rank::G]`` into (n_rows, P) on rank 0, else None."""
    size = world_size()
    if size == 1:
        return rows
    longest = -(-n_rows // size)
    padded = torch.zeros((longest, *rows.shape[1:]), dtype=rows.dtype, device=_wire_device())
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in range(size)] if rank() == 0 else None
    dist.gather(padded, parts, dst=0)
    if parts is None:
        return None
    return torch.stack(parts, dim=1).flatten(0, 1)[:n_rows].cpu()


def broadcast_buffers(module: nn.Module) -> None:
    """Give every rank rank 0's buffers: BatchNorm's running statistics differ between ranks while training."""
    if world_size() == 1:
        return
    with torch.no_grad():
        for buffer in module.buffers():
            wire = buffer.to(_wire_device()).contiguous()
            dist.broadcast(wire, src=0)
            buffer.copy_(wire)


def _wire_device() -> torch.device:
    """The device whose tensors the process group can send."""
    if dist.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")
