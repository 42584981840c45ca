"""How Lightning starts the processes of a run and how long they wait for each other. processes.py counts them."""

import subprocess
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy

from deepcluster.training.processes import TIMEOUT_KEY, TIMEOUT_MINUTES, n_processes


def trainer_arguments(trainer: dict[str, Any]) -> dict[str, Any]:
    """The values of the group `trainer` as Lightning's Trainer takes them: the time limit is the strategy's."""
    values = {name: value for name, value in trainer.items() if name != TIMEOUT_KEY}
    name = values.get("strategy", "auto")
    if name != "auto" or n_processes(trainer) > 1:
        timeout = timedelta(minutes=trainer.get(TIMEOUT_KEY, TIMEOUT_MINUTES))
        # As Lightning's own default for "ddp" and "auto"; looking for unused parameters costs a walk at every step.
        values["strategy"] = DDPStrategy(timeout=timeout, find_unused_parameters=name.endswith("parameters_true"))
    return values


class FollowChildren(pl.Callback):
    """Hands over the processes that Lightning has started, so that the death of one is noticed.

    Lightning itself looks every 5 s; if one has died it kills this process too, without a message, and with it all
    remaining jobs of a sweep. Here `follow` watches them instead.

    Args:
        follow: is given the processes.
    """

    def __init__(self, follow: Callable[[Sequence["subprocess.Popen[bytes]"]], None]) -> None:
        self.follow = follow

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.follow(list(getattr(trainer.strategy.launcher, "procs", [])))
        threads: list[Any] = threading.enumerate()
        for thread in threads:
            if thread.name == "child-process-observer" and hasattr(thread, "_child_processes"):
                thread._child_processes = []  # it ends when none is left
