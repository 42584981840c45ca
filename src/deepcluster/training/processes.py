"""How many processes a run has, how they are started and how long they wait for each other. run.py uses it."""

import math
import subprocess
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy

from deepcluster.system import distributed

TIMEOUT_KEY = "timeout_minutes"  # ours, among Lightning's arguments in the group `trainer`
# A process that fails or dies is noticed at once (first_failure.py); this is for what hangs. The others wait so long
# while the first clusters alone, or measures the untrained network: PyTorch's 30 minutes are too few for ImageNet.
TIMEOUT_MINUTES = 240.0
STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false")


def check_processes(trainer: dict[str, Any]) -> None:
    """Refuse a time-out that is none, and strategies that would lose the assignment.

    Raises:
        ValueError: naming the key.
    """
    minutes = trainer.get(TIMEOUT_KEY, TIMEOUT_MINUTES)
    if isinstance(minutes, bool) or not isinstance(minutes, int | float) or not 0 < minutes < math.inf:
        raise ValueError(
            f"trainer.{TIMEOUT_KEY} must be above 0, got {minutes}: the minutes that processes wait for each other"
        )
    strategy = trainer.get("strategy", "auto")
    if strategy not in STRATEGIES:
        raise ValueError(
            f"trainer.strategy must be one of {', '.join(STRATEGIES)}, got {strategy}; others do not keep the whole "
            "network and the pseudo-labels on every process"
        )


def check_start(trainer: dict[str, Any], device: torch.device, *, folder_is_named: bool) -> None:
    """Refuse what the machine, torchrun or srun do not fit to; before anything long starts.

    Args:
        folder_is_named: whether all nodes have the run's folder by name, and not by the time.

    Raises:
        ValueError: naming the key and the way out.
    """
    n, started, by = n_processes(trainer), distributed.n_started(), distributed.starter()
    if by is not None and started != n:
        nodes = trainer.get("num_nodes", 1)
        raise ValueError(
            f"{by} has started {started} process{'es' if started > 1 else ''}, but trainer.devices="
            f"{trainer['devices']} and trainer.num_nodes={nodes} make {n}; set trainer.devices={started // nodes}"
            + (", or start without it: trainer=ddp starts the processes itself" if started > 1 else "")
        )
    if by is None and trainer.get("num_nodes", 1) > 1 and not folder_is_named:
        raise ValueError(
            f"trainer.num_nodes={trainer['num_nodes']} needs output_dir=FOLDER, the same on every node: they start at "
            "different seconds and would name it by the time"
        )
    if trainer.get("sync_batchnorm") and n > 1 and device.type != "cuda":
        raise ValueError(
            f"trainer.sync_batchnorm=true works on GPUs only, the device is a {device.type}; leave it out: each "
            "process then normalises by its own batch, and the features of all by process 0's statistics"
        )


def n_processes(trainer: dict[str, Any]) -> int:
    """The number of processes G that the group `trainer` asks for: devices x nodes."""
    devices = trainer["devices"]
    if isinstance(devices, str) and devices.strip("-").isdigit():
        devices = int(devices)
    if isinstance(devices, int):
        n = devices if devices > 0 else max(1, torch.cuda.device_count())
    elif isinstance(devices, str):
        n = max(1, torch.cuda.device_count()) if devices == "auto" else len(devices.split(","))
    else:
        n = len(devices)
    return n * int(trainer.get("num_nodes", 1))


def for_lightning(trainer: dict[str, Any]) -> dict[str, Any]:
    """The group's values as Lightning's Trainer takes them: the time-out is the strategy's."""
    values = {name: value for name, value in trainer.items() if name != TIMEOUT_KEY}
    name = values.get("strategy", "auto")
    if name != "auto" or n_processes(trainer) > 1:
        timeout = timedelta(minutes=trainer.get(TIMEOUT_KEY, TIMEOUT_MINUTES))
        # As Lightning's own default for "ddp" and "auto"; looking for unused parameters costs a walk at every step.
        values["strategy"] = DDPStrategy(timeout=timeout, find_unused_parameters=name.endswith("parameters_true"))
    return values


class FollowChildren(pl.Callback):
    """Hands over the processes that Lightning has started, so that the death of one is noticed.

    Lightning itself looks every 5 s, and when one has died kills this process too: without a word, with an exit status
    that says nothing, and in a sweep with all jobs that are left. From here on `follow` sees to it.

    Args:
        follow: takes them.
    """

    def __init__(self, follow: Callable[[Sequence["subprocess.Popen[bytes]"]], None]) -> None:
        self.follow = follow

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.follow(list(getattr(trainer.strategy.launcher, "procs", [])))
        threads: list[Any] = threading.enumerate()
        for thread in threads:
            if thread.name == "child-process-observer" and hasattr(thread, "_child_processes"):
                thread._child_processes = []  # it ends when none is left
