"""Which of G processes this is, and how they share results and failures. Next: collectives.py, for tensors.

Every function also works in a single process, so callers need no second path. torch is not imported here: where it is
not imported, there is no process group.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import ModuleType
from typing import Any, TypeVar

T = TypeVar("T")


class OtherProcessFailed(RuntimeError):
    """Another process has failed in work that several do together; the message says why."""


def process_group() -> ModuleType | None:
    """torch.distributed if there is a process group, else None."""
    dist = sys.modules.get("torch.distributed")
    return dist if dist is not None and dist.is_available() and dist.is_initialized() else None


def rank() -> int:
    """This process's number, 0 to G - 1; 0 without a process group."""
    dist = process_group()
    return 0 if dist is None else int(dist.get_rank())


def world_size() -> int:
    """The number of processes G; 1 without a process group."""
    dist = process_group()
    return 1 if dist is None else int(dist.get_world_size())


def rank_at_start() -> int:
    """This process's number by the environment variables of Lightning, torchrun or srun.

    It is known before there is a process group.
    """
    if _by_srun():
        return int(os.environ["SLURM_PROCID"])
    if "RANK" in os.environ:
        return int(os.environ["RANK"])
    node, local = _number("NODE_RANK", "GROUP_RANK"), _number("LOCAL_RANK")
    return node * (n_started() if node else 1) + local  # on a later node not the exact number, but never 0


def local_rank() -> int:
    """This process's number on its machine, which is also the number of its GPU."""
    return _number("SLURM_LOCALID") if _by_srun() else _number("LOCAL_RANK")


def n_started() -> int:
    """The number of processes G by the environment variables; 1 before Lightning has started the others."""
    return int(os.environ["SLURM_STEP_NUM_TASKS"]) if _by_srun() else _number("WORLD_SIZE") or world_size()


def starter() -> str | None:
    """The launcher that started all processes: "torchrun" or "srun".

    None if Lightning starts the others later, or there is only one process.
    """
    if _by_srun():
        return "srun"
    return "torchrun" if "TORCHELASTIC_RUN_ID" in os.environ else None


def has_starter() -> bool:
    """Whether this process must end when the process that started it ends."""
    return starter() == "torchrun" or (starter() is None and _number("LOCAL_RANK") > 0)


def is_main_process() -> bool:
    """Whether this process writes files and prints; known before there is a process group, too."""
    return (rank_at_start() if process_group() is None else rank()) == 0


def agreed_folder(name: str, make: Callable[[str], str]) -> str:
    """One new folder for all processes that torchrun or srun has started.

    The name holds the time, which differs between processes, and there is no process group yet.

    Args:
        name: this process's name for the folder.
        make: makes a folder of that or a similar name, and returns its name.

    Returns:
        With torchrun what the first process has made, with srun a name of the job's number, else what this process has
        made.
    """
    if starter() == "srun" and n_started() > 1:
        job = f"slurm_{os.environ['SLURM_JOB_ID']}_{os.environ.get('SLURM_STEP_ID', '0')}"
        return f"{name.rpartition('/')[0]}/{job}".lstrip("/")
    if starter() == "torchrun" and n_started() > 1 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        from torch.distributed import TCPStore  # type: ignore[attr-defined]  # there, but not in __all__

        store = TCPStore(
            os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=timedelta(minutes=5)
        )
        key = f"deepcluster/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{re.sub('[0-9]', '', name)}"
        if rank_at_start() == 0:
            store.set(key, make(name))
        return str(store.get(key).decode())
    return make(name)


def _by_srun() -> bool:
    """Whether srun has started several processes, this one among them."""
    # In a shell of SLURM the job has the name "bash" (as in Lightning), or srun --pty keeps a port for the terminal.
    interactive = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive") or "SLURM_PTY_PORT" in os.environ
    if interactive or "TORCHELASTIC_RUN_ID" in os.environ:  # the usual way to several nodes: srun starts torchrun
        return False
    # Not SLURM_NTASKS: sbatch sets it too, for a script that runs only once. srun numbers its tasks; a step of one
    # task is a shell of salloc, or a process that is alone.
    n_tasks, number = os.environ.get("SLURM_STEP_NUM_TASKS", ""), os.environ.get("SLURM_PROCID", "")
    return n_tasks.isdigit() and int(n_tasks) > 1 and number.isdigit()


def _number(*names: str) -> int:
    """The value of the first of these environment variables that is set; 0 if none is."""
    return next((int(os.environ[name]) for name in names if os.environ.get(name)), 0)


@contextmanager
def shared_failure(what: str) -> Iterator[None]:
    """Run local work between two collective operations; if it fails on one rank, it raises on every rank.

    Otherwise the other ranks would wait in the next collective until its time-out, 30 minutes by default. The failing
    rank raises its own error, the others an OtherProcessFailed with the rank and its error.

    Args:
        what: the work, for the message of the others.
    """
    error: Exception | None = None
    try:
        yield
    except Exception as caught:
        error = caught
    dist = process_group()
    if dist is not None and world_size() > 1:
        reports: list[str | None] = [None] * world_size()
        dist.all_gather_object(reports, None if error is None else f"{type(error).__name__}: {error}")
        failed = [f"rank {r}: {report}" for r, report in enumerate(reports) if report is not None]
        if failed and error is None:
            raise OtherProcessFailed(f"{what} failed on another process ({'; '.join(failed)})")
    if error is not None:
        raise error


def on_rank_zero(what: str, work: Callable[[], T]) -> T:
    """Do the work on rank 0 and return its result on every rank; a failure raises on every rank."""
    result: list[Any] = [None]
    with shared_failure(what):
        if rank() == 0:
            result[0] = work()
    dist = process_group()
    if dist is not None and world_size() > 1:
        dist.broadcast_object_list(result, src=0)
    return result[0]  # type: ignore[no-any-return]
