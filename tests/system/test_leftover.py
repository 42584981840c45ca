"""Variables of a launch that has not started this process are forgotten with a note, or refused; real ones stay."""

import os
import re

import pytest

from deepcluster.system import distributed
from deepcluster.system.leftover import OTHERS, RANKS, STARTED_BY, forget_leftover

SRUN = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train.sh"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}
NAMES = [*RANKS, *OTHERS, *SRUN, *TORCHRUN, "NODE_RANK", "MASTER_PORT", "MASTER_ADDR", "SLURM_PTY_PORT", STARTED_BY]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch):
    """Sets these variables, and no others of a launch."""

    def environment(values: dict[str, str]) -> None:
        for name in NAMES:
            monkeypatch.setenv(name, "")  # so that what is removed comes back after the test
            monkeypatch.delenv(name)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    environment({})
    return environment


@pytest.mark.parametrize(
    ("values", "noted"),
    [
        ({}, None),
        ({"RANK": "1"}, "RANK=1 in the environment: ignored, .*; unset RANK$"),
        ({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_PORT": "29501"}, None),
        ({"WORLD_SIZE": "2"}, "unset WORLD_SIZE$"),
        ({"LOCAL_RANK": "1"}, "unset LOCAL_RANK$"),
        ({"WORLD_SIZE": ""}, None),
        ({"RANK": "x", "MASTER_PORT": "y"}, "RANK=x, MASTER_PORT=y .*unset RANK MASTER_PORT$"),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "4"}, None),  # sbatch without srun
        ({**SRUN, "SLURM_STEP_NUM_TASKS": "1"}, None),  # srun --pty, salloc's shell
        ({**SRUN, "SLURM_PTY_PORT": "40000", "SLURM_STEP_NUM_TASKS": "4"}, None),  # srun -n4 --pty
        ({"TORCHELASTIC_RUN_ID": "none"}, None),
        ({"RANK": "1", STARTED_BY: "1"}, "unset RANK$"),  # another process's children
    ],
    ids=str,
)
def test_a_process_that_nobody_has_started_with_others_is_alone(environment, values, noted) -> None:
    environment(values)
    note = forget_leftover(is_alone=False)
    assert note is None if noted is None else re.search(noted, str(note))
    assert distributed.rank_at_start() == 0 and distributed.n_started() == 1 and distributed.starter() is None
    assert not {*RANKS, "WORLD_SIZE", "SLURM_PROCID"} & set(os.environ)  # Lightning reads them, too


@pytest.mark.parametrize("rank", ["RANK", "LOCAL_RANK"])
def test_one_of_several_that_were_started_by_hand_is_refused(environment, rank: str) -> None:
    environment({rank: "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"})
    with pytest.raises(ValueError, match=rf"one of 2 processes \({rank}=1, WORLD_SIZE=2\).*unset {rank} WORLD_SIZE"):
        forget_leftover(is_alone=False)


def test_processes_of_torchrun_srun_and_lightning_keep_their_numbers(environment) -> None:
    environment(TORCHRUN)
    assert forget_leftover(is_alone=False) is None
    assert (distributed.starter(), distributed.rank_at_start(), distributed.n_started()) == ("torchrun", 1, 2)
    environment({**TORCHRUN, **SRUN, "SLURM_PROCID": "0"})  # srun starts torchrun on each machine
    assert forget_leftover(is_alone=False) is None
    assert (distributed.starter(), distributed.rank_at_start()) == ("torchrun", 1)
    environment({**SRUN, "RANK": "0", "WORLD_SIZE": "8"})  # a script's own variables
    assert forget_leftover(is_alone=False) is None
    assert (distributed.starter(), distributed.rank_at_start(), distributed.n_started()) == ("srun", 1, 2)
    environment({STARTED_BY: str(os.getppid()), "LOCAL_RANK": "1", "WORLD_SIZE": "2", "NODE_RANK": "0"})
    assert forget_leftover(is_alone=False) is None
    assert (distributed.rank_at_start(), distributed.n_started(), distributed.has_starter()) == (1, 2, True)


def test_an_evaluation_is_never_on_a_later_machine(environment) -> None:
    environment({"NODE_RANK": "1"})
    assert forget_leftover(is_alone=False) is None and not distributed.is_main_process()
    assert "unset NODE_RANK" in str(forget_leftover(is_alone=True)) and distributed.is_main_process()
