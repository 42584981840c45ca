"""Environment variables of a launch that has not started this process. Next: distributed.py, which believes the rest.

Kubeflow, notebooks and shells of SLURM leave RANK, WORLD_SIZE and their like behind. A process that believed them would
take itself for one of several: it would write nothing, or wait for hours for processes that are not there.
"""

import os

from deepcluster.system import distributed

RANKS = ("RANK", "LOCAL_RANK", "GROUP_RANK")
OTHERS = ("WORLD_SIZE", "TORCHELASTIC_RUN_ID", "SLURM_PROCID", "JSM_NAMESPACE_RANK")  # Lightning reads the last two too
NUMBERS = ("NODE_RANK", "MASTER_PORT")  # set by hand for trainer.num_nodes
STARTED_BY = "DEEPCLUSTER_STARTED_BY"  # the number of the process that starts a run's others; they hold it too
HARMLESS = {"WORLD_SIZE": ("", "0", "1")}  # values that need no note; of the others "" and "0"
OWN_WORDS = (*RANKS, "WORLD_SIZE", *NUMBERS)  # those that a user may have set


def forget_leftover(*, is_alone: bool) -> str | None:
    """Remove the variables of a launch that has not started this process; Lightning reads them at its import.

    Args:
        is_alone: the program never has several processes, as eval.py.

    Returns:
        A note for the user; None if nothing is worth a word.

    Raises:
        ValueError: if they say that this is one of several processes that somebody has started one by one.
    """
    if os.environ.get(STARTED_BY) == str(os.getppid()):
        return None
    starter, numbers = distributed.starter(), {name: os.environ.get(name, "") for name in (*RANKS, "WORLD_SIZE")}
    if starter == "torchrun":
        if all(numbers[name].isdigit() for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")):
            return None
    elif starter == "srun":  # scripts export RANK and others too, equal or not: srun's own numbers hold
        for name in (*RANKS, "WORLD_SIZE"):
            os.environ.pop(name, None)
        return None
    ranks = [name for name in ("RANK", "LOCAL_RANK") if numbers[name].isdigit()]
    if ranks and numbers["WORLD_SIZE"].isdigit() and int(numbers["WORLD_SIZE"]) > 1:
        names = [*ranks, "WORLD_SIZE"]
        shown = ", ".join(f"{name}={numbers[name]}" for name in names)
        raise ValueError(
            f"by the environment this is one of {numbers['WORLD_SIZE']} processes ({shown}), but neither torchrun nor "
            f"srun has started it; unset {' '.join(names)}, or start all by torchrun. trainer=ddp "
            "trainer.devices=N starts N processes itself"
        )
    wrong = [name for name in NUMBERS if name in os.environ and not os.environ[name].isdigit()]
    names = [*RANKS, *OTHERS, *wrong, *(["NODE_RANK"] if is_alone else [])]
    removed = {name: os.environ.pop(name) for name in dict.fromkeys(names) if name in os.environ}
    noted = {n: v for n, v in removed.items() if n in OWN_WORDS and v not in HARMLESS.get(n, ("", "0"))}
    if not noted:
        return None
    shown = ", ".join(f"{name}={value}" for name, value in noted.items())
    return f"{shown} in the environment: ignored, no torchrun or srun has started this process; unset {' '.join(noted)}"
