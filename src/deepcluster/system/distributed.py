"""What G processes need to act as one: who is who, sums, gathered rows, shared results and shared failures.

Every function also works in a single process, where it does nothing or returns its argument, so callers
have one path. Tensors travel on the device that the process group's backend serves.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")


class OtherProcessFailed(RuntimeError):
    """Work that several processes do together has failed on another one; its message says why."""


def rank() -> int:
    """This process's number, 0 to G - 1; 0 without a process group."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def rank_at_start() -> int:
    """This process's number as its starter (Lightning, torchrun, srun) gave it, before there is a process group."""
    if _by_srun():
        return int(os.environ["SLURM_PROCID"])
    if "RANK" in os.environ:
        return int(os.environ["RANK"])
    node, local = _number("NODE_RANK", "GROUP_RANK"), _number("LOCAL_RANK")
    return node * (n_started() if node else 1) + local  # of another node only that it is not the first is known


def local_rank() -> int:
    """This process's number on its machine, which is also its GPU's."""
    return _number("SLURM_LOCALID") if _by_srun() else _number("LOCAL_RANK")


def n_started() -> int:
    """The number of processes G as their starter tells it; 1 before Lightning has started the others."""
    return int(os.environ["SLURM_STEP_NUM_TASKS"]) if _by_srun() else _number("WORLD_SIZE") or world_size()


def starter() -> str | None:
    """Who has started all processes at once: torchrun or srun; None where Lightning does it later, or nobody."""
    if _by_srun():
        return "srun"
    return "torchrun" if "TORCHELASTIC_RUN_ID" in os.environ else None


def has_starter() -> bool:
    """Whether this process should end with the one that has started it."""
    return starter() == "torchrun" or (starter() is None and _number("LOCAL_RANK") > 0)


def is_main_process() -> bool:
    """Whether this is the process that writes and speaks; also right before there is a process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank() == 0
    return rank_at_start() == 0


def agreed(name: str) -> str:
    """A name that holds the time, the same for all processes that torchrun or srun has started.

    They start at different seconds, and there is no process group yet.
    """
    if starter() == "srun" and n_started() > 1:
        job = f"slurm_{os.environ['SLURM_JOB_ID']}_{os.environ.get('SLURM_STEP_ID', '0')}"
        return f"{name.rpartition('/')[0]}/{job}".lstrip("/")
    if starter() == "torchrun" and n_started() > 1 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        store = dist.TCPStore(  # type: ignore[attr-defined]  # there, but not in __all__
            os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=timedelta(minutes=5)
        )
        key = f"deepcluster/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{re.sub('[0-9]', '', name)}"
        if rank_at_start() == 0:
            store.set(key, name)
        return str(store.get(key).decode())
    return name


def _by_srun() -> bool:
    # Not SLURM_NTASKS: sbatch sets it too, for a script that runs once. srun's own tasks are numbered.
    interactive = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")  # as Lightning has it
    return "SLURM_STEP_NUM_TASKS" in os.environ and "SLURM_PROCID" in os.environ and not interactive


def _number(*names: str) -> int:
    """The first of these environment variables that is set, else 0."""
    return next((int(os.environ[name]) for name in names if os.environ.get(name)), 0)


def world_size() -> int:
    """The number of processes G; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@contextmanager
def shared_failure(what: str) -> Iterator[None]:
    """Run local work between two collective operations; if it fails on one rank, every rank raises.

    Without this the others would wait in the next collective until its time-out, 30 minutes by default.
    The failing rank raises its own error, the others an OtherProcessFailed that names the rank and the error.
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
            raise OtherProcessFailed(f"{what} failed on another process ({'; '.join(failed)})")
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
