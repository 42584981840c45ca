"""Count a run's processes, and refuse settings before they start. lightning_processes.py starts them.

Imports nothing heavy at its top, because checking a config imports this file.
"""

import math
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

TIMEOUT_KEY = "timeout_minutes"  # our key in the group `trainer`; the others are Lightning's arguments
# How long the other processes wait while the first one clusters alone or measures the untrained network. PyTorch's
# 30 minutes are too short for ImageNet. The limit only ends a run of which a process hangs: one that fails or dies is
# noticed at once (system/first_failure.py).
TIMEOUT_MINUTES = 240.0
STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false")


def check_processes(trainer: dict[str, Any]) -> None:
    """Refuse an impossible time limit, and strategies under which a process would lack weights or pseudo-labels.

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


def check_start(trainer: dict[str, Any], device: "torch.device", *, folder_is_named: bool) -> None:
    """Refuse a group `trainer` that does not fit the machine, torchrun or srun, before anything long starts.

    Args:
        folder_is_named: the user has named the run's folder. Otherwise it is named after the time.

    Raises:
        ValueError: naming the key and the way out.
    """
    from deepcluster.system import distributed

    n, n_started, starter = n_processes(trainer), distributed.n_started(), distributed.starter()
    if starter is not None and n_started != n:
        nodes = trainer.get("num_nodes", 1)
        raise ValueError(
            f"{starter} has started {n_started} process{'es' if n_started > 1 else ''}, but trainer.devices="
            f"{trainer['devices']} and trainer.num_nodes={nodes} make {n}; set trainer.devices={n_started // nodes}"
            + (f", or start without {starter}: trainer=ddp starts the processes itself" if n_started > 1 else "")
        )
    node = os.environ.get("NODE_RANK") or "0"
    if starter is None and trainer.get("num_nodes", 1) == 1 and node != "0":
        raise ValueError(
            f"NODE_RANK={node} in the environment says that this is a later one of several machines, but "
            "trainer.num_nodes=1; unset NODE_RANK, or set trainer.num_nodes"
        )
    if starter is None and trainer.get("num_nodes", 1) > 1 and not folder_is_named:
        raise ValueError(
            f"trainer.num_nodes={trainer['num_nodes']} needs output_dir=FOLDER, the same on every node: otherwise each "
            "node would name a folder after its own time"
        )
    if trainer.get("sync_batchnorm") and n > 1 and device.type != "cuda":
        raise ValueError(
            f"trainer.sync_batchnorm=true works on GPUs only, the device is a {device.type}; leave it out. Each "
            "process then normalises by its own batch, and all features are computed with process 0's statistics"
        )


def n_processes(trainer: dict[str, Any]) -> int:
    """The number of processes G that the group `trainer` asks for: devices x nodes."""
    import torch

    devices = trainer["devices"]
    n_all = 1 if trainer.get("accelerator") == "cpu" else max(1, torch.cuda.device_count())
    if isinstance(devices, str) and devices.strip("-").isdigit():
        devices = int(devices)
    if isinstance(devices, int):
        n = devices if devices > 0 else n_all
    elif isinstance(devices, str):
        n = n_all if devices == "auto" else len(devices.strip(", ").split(","))
    else:
        n = len(devices)
    return n * int(trainer.get("num_nodes", 1))
