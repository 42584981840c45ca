"""How Lightning starts a run's processes, and how long they wait for each other. processes.py counts them."""

import subprocess
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy

from deepcluster.training.processes import TIMEOUT_KEY, TIMEOUT_MINUTES, n_processes


def trainer_arguments(trainer: dict[str, Any]) -> dict[str, Any]:
    """The arguments of Lightning's Trainer from the group `trainer`; our time limit becomes the strategy's."""
    values = {name: value for name, value in trainer.items() if name != TIMEOUT_KEY}
    name = values.get("strategy", "auto")
    if name != "auto" or n_processes(trainer) > 1:
        timeout = timedelta(minutes=trainer.get(TIMEOUT_KEY, TIMEOUT_MINUTES))
        # Lightning's own default for "ddp" and "auto". Looking for unused parameters costs time at every step.
        values["strategy"] = DDPStrategy(timeout=timeout, find_unused_parameters=name.endswith("parameters_true"))
    return values


class FollowChildren(pl.Callback):
    """Passes the processes that Lightning has started to `follow`, which watches them in Lightning's place.

    Lightning checks them every 5 s. If one has died, it kills this process too, without a message, and all remaining
    jobs of a sweep with it.

    Args:
        follow: called with the processes.
    """

    def __init__(self, follow: Callable[[Sequence["subprocess.Popen[bytes]"]], None]) -> None:
        self.follow = follow

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.follow(list(getattr(trainer.strategy.launcher, "procs", [])))
        threads: list[Any] = threading.enumerate()
        for thread in threads:
            if thread.name == "child-process-observer" and hasattr(thread, "_child_processes"):
                thread._child_processes = []  # Lightning's thread ends when it has none to watch
