"""How many processes a run has, and what is refused before they start. lightning_processes.py starts them.

Imports nothing heavy at its top: the config is checked with this file.
"""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

TIMEOUT_KEY = "timeout_minutes"  # ours, among Lightning's arguments in the group `trainer`
# The other processes wait this long while the first one clusters alone or measures the untrained network: PyTorch's
# 30 minutes are too few for ImageNet. A process that fails or dies is noticed at once (system/first_failure.py); the
# limit is for one that hangs.
TIMEOUT_MINUTES = 240.0
STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false")


def check_processes(trainer: dict[str, Any]) -> None:
    """Refuse an impossible time limit, and strategies that would lose the assignment.

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
    """Refuse a group `trainer` that does not fit the machine, torchrun or srun; before anything long starts.

    Args:
        folder_is_named: whether the user has named the run's folder; else its name is the time.

    Raises:
        ValueError: naming the key and the way out.
    """
    from deepcluster.system import distributed

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
    import torch

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
