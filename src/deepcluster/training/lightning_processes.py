"""How Lightning starts a run's processes, and how long they wait for each other. processes.py counts them."""

import os
import subprocess
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment, find_free_network_port
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy

from deepcluster.system import distributed, stop_signals
from deepcluster.training.processes import TIMEOUT_KEY, TIMEOUT_MINUTES, n_processes

Follow = Callable[[Sequence["subprocess.Popen[bytes]"]], None]


def trainer_arguments(trainer: dict[str, Any], follow: Follow | None = None) -> dict[str, Any]:
    """The arguments of Lightning's Trainer from the group `trainer`; our time limit becomes the strategy's.

    Args:
        follow: called with the processes that Lightning has started, to watch over them.
    """
    values = {name: value for name, value in trainer.items() if name != TIMEOUT_KEY}
    name = values.get("strategy", "auto")
    if name != "auto" or n_processes(trainer) > 1:
        timeout = timedelta(minutes=trainer.get(TIMEOUT_KEY, TIMEOUT_MINUTES))
        # Lightning's own default for "ddp" and "auto". Looking for unused parameters costs time at every step.
        unused = name.endswith("parameters_true")
        values["strategy"] = FollowedStrategy(follow, timeout=timeout, find_unused_parameters=unused)
    return values


class FollowedStrategy(DDPStrategy):
    """DDP that passes the processes that Lightning has started to `follow`, which watches them in Lightning's place.

    Lightning checks them every 5 s. If one has died, it kills this process too, without a message, and all remaining
    jobs of a sweep with it.

    Args:
        follow: called with the processes, before this one waits for them in the process group; None: not watched.
        options: of DDPStrategy.
    """

    def __init__(self, follow: Follow | None, **options: Any) -> None:
        super().__init__(**options)
        self.follow = follow

    def setup_environment(self) -> None:
        if self.follow is not None:
            self.follow(list(getattr(self.launcher, "procs", [])))
            threads: list[Any] = threading.enumerate()
            for thread in threads:
                if thread.name == "child-process-observer" and hasattr(thread, "_child_processes"):
                    thread._child_processes = []  # Lightning's thread ends when it has none to watch
        super().setup_environment()

    def on_train_start(self) -> None:
        # Lightning's handler of SIGTERM broadcasts it, in the midst of other collective calls: the processes hang.
        stop_signals.take_back()
        super().on_train_start()


class SrunEnvironment(SLURMEnvironment):
    """The processes of one srun, counted as in system/distributed.py.

    Lightning counts the tasks of the whole job, of which a step may be a part, and asks for --ntasks-per-node.
    check_start has compared the number with the group `trainer`.
    """

    def world_size(self) -> int:
        return distributed.n_started()

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        pass

    @staticmethod
    def _validate_srun_used() -> None:
        pass

    @staticmethod
    def _validate_srun_variables() -> None:
        pass


class OneMachine(LightningEnvironment):
    """Processes of this machine, which meet here whatever address an earlier launch has left in the environment."""

    @property
    def main_address(self) -> str:
        return "127.0.0.1"

    @property
    def main_port(self) -> int:
        if self._main_port == -1:
            self._main_port = find_free_network_port()
        return self._main_port


def cluster_environment(n_nodes: int) -> ClusterEnvironment:
    """How a run's processes find each other. Lightning's own choice goes by variables that a shell may have left."""
    starter = distributed.starter()
    if starter == "torchrun":
        return TorchElasticEnvironment()
    if starter == "srun":
        return SrunEnvironment()
    is_first_here = n_nodes == 1 and "LOCAL_RANK" not in os.environ  # its children have its address and port
    return OneMachine() if is_first_here else LightningEnvironment()
