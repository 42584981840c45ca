"""A job of a sweep in a process of its own (hydra/launcher=joblib, submitit_local): its output and its cores.

Jobs that run at once would write between each other's lines, and each would take all cores.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from omegaconf import DictConfig
from threadpoolctl import threadpool_limits

from deepcluster.system.threads import CORES

OUTPUT = "output.log"


def jobs_at_once(launcher: DictConfig, n_jobs: int | None, n_cores: int) -> int:
    """How many jobs of this machine run side by side, as far as the launcher decides it.

    Args:
        launcher: hydra.launcher.
        n_jobs: of the whole sweep, if known.
        n_cores: of the machine.
    """
    target = str(launcher["_target_"])
    if target.endswith("JoblibLauncher"):  # below 0: all cores but so many, as joblib counts
        asked = int(launcher.n_jobs)
        at_once = asked if asked > 0 else max(1, n_cores + 1 + asked)
        return min(at_once, n_jobs or at_once)
    if target.endswith("LocalLauncher"):  # submitit starts all of them
        return n_jobs or 1
    return 1


def take_cores(n: int) -> None:
    """Keep this process, its threads and its data workers to n cores."""
    os.environ[CORES] = str(n)
    torch.set_num_threads(min(n, torch.get_num_threads()))
    threadpool_limits(n)  # faiss's and numpy's


@contextmanager
def output_in(folder: Path) -> Iterator[None]:
    """What is printed meanwhile, by this process and those it starts, goes to the folder's output.log."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    file = os.open(folder / OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.close(file)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, whole in zip((1, 2), kept, strict=True):
            os.dup2(whole, stream)
            os.close(whole)
