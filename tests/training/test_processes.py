"""How many processes there are, how long they wait, and what is refused before they start."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning_fabric.strategies.launchers import subprocess_script
from pytorch_lightning.strategies import DDPStrategy

from deepcluster.training.lightning_processes import FollowedStrategy, cluster_environment, trainer_arguments
from deepcluster.training.processes import check_processes, check_start, n_processes

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("trainer", "n"),
    [
        ({"devices": 1}, 1),
        ({"devices": 3}, 3),
        ({"devices": "2"}, 2),
        ({"devices": [0, 2]}, 2),
        ({"devices": "0,1,3"}, 3),
        ({"devices": "1,"}, 1),  # GPU 1
        ({"devices": 4, "num_nodes": 2}, 8),
    ],
)
def test_processes_are_devices_times_nodes(trainer: dict[str, Any], n: int) -> None:
    assert n_processes(trainer) == n


def test_all_devices_are_the_gpus_unless_the_cpu_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert n_processes({"devices": "auto"}) == n_processes({"devices": -1, "accelerator": "gpu"}) == 4
    assert n_processes({"devices": "auto", "accelerator": "cpu"}) == 1


def test_the_time_out_reaches_the_process_group(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from support import tiny

    class Reached(Exception):
        pass

    seen: dict[str, Any] = {}

    def init_process_group(*args: Any, **options: Any) -> None:
        seen.update(options)
        raise Reached

    monkeypatch.setattr(torch.distributed, "init_process_group", init_process_group)
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_PORT": "29999"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")  # so that Lightning starts no process
    trainer = trainer_arguments({"devices": 1, "strategy": "ddp", "timeout_minutes": 95.5})
    assert "timeout_minutes" not in trainer
    with pytest.raises(Reached):
        tiny.build(tmp_path, trainer=trainer).fit()
    assert seen["timeout"] == timedelta(minutes=95.5)


def test_processes_wait_for_hours_by_default_and_one_process_has_no_strategy() -> None:
    assert trainer_arguments({"devices": 2})["strategy"]._timeout == timedelta(hours=4)  # also trainer=default
    assert trainer_arguments({"devices": 1, "strategy": "auto"}) == {"devices": 1, "strategy": "auto"}


@pytest.mark.parametrize("minutes", [0, -1, "long", True, float("inf"), None])
def test_a_time_out_that_is_none_is_refused(minutes: Any) -> None:
    with pytest.raises(ValueError, match=r"trainer.timeout_minutes must be above 0, got"):
        check_processes({"timeout_minutes": minutes})


def test_strategies_that_lose_the_assignment_are_refused() -> None:
    with pytest.raises(ValueError, match=r"trainer.strategy must be one of auto, ddp, .*, got ddp_spawn"):
        check_processes({"strategy": "ddp_spawn"})


def test_synchronised_batch_norm_needs_gpus() -> None:
    settings = {"devices": 2, "sync_batchnorm": True}
    with pytest.raises(ValueError, match="sync_batchnorm=true works on GPUs only"):
        check_start(settings, CPU, folder_is_named=True)
    check_start(settings, CUDA, folder_is_named=True)
    check_start({**settings, "devices": 1}, CPU, folder_is_named=True)  # one process has no others


def test_what_torchrun_has_started_must_be_what_the_trainer_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "4", "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=r"torchrun has started 4 processes, .*make 1; set trainer.devices=4"):
        check_start({"devices": 1}, CPU, folder_is_named=False)
    with pytest.raises(ValueError, match=r"make 2; set trainer.devices=2"):
        check_start({"devices": 1, "num_nodes": 2}, CPU, folder_is_named=False)
    check_start({"devices": 2, "num_nodes": 2}, CPU, folder_is_named=False)


def test_nodes_must_agree_on_the_folder() -> None:
    with pytest.raises(ValueError, match=r"trainer.num_nodes=2 needs output_dir=FOLDER"):
        check_start({"devices": 1, "num_nodes": 2}, CPU, folder_is_named=False)
    check_start({"devices": 1, "num_nodes": 2}, CPU, folder_is_named=True)


def test_a_child_that_dies_is_left_to_us_and_not_to_lightning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose thread would kill this process."""
    killed: list[int] = []
    monkeypatch.setattr(subprocess_script._ChildProcessObserver, "_terminate_all", lambda self: killed.append(1))
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    launcher = SimpleNamespace(procs=[child])
    observer = subprocess_script._ChildProcessObserver(0, launcher.procs, sleep_period=1)
    observer.start()
    followed: list[Any] = []
    strategy = FollowedStrategy(followed.extend)
    strategy._launcher = launcher
    monkeypatch.setattr(DDPStrategy, "setup_environment", lambda self: followed.append("waits for them"))
    strategy.setup_environment()
    child.kill()
    child.wait()
    observer.join(timeout=30)
    assert followed == [child, "waits for them"] and not observer.is_alive() and not killed


def test_a_later_machine_without_others_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_RANK", "1")
    with pytest.raises(ValueError, match=r"NODE_RANK=1 .* trainer.num_nodes=1; unset NODE_RANK"):
        check_start({"devices": 1}, CPU, folder_is_named=True)
    check_start({"devices": 1, "num_nodes": 2}, CPU, folder_is_named=True)


def test_processes_of_one_machine_meet_there_whatever_address_the_environment_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MASTER_ADDR", "gone.example")
    monkeypatch.setenv("MASTER_PORT", "1")
    first = cluster_environment(1)
    assert first.main_address == "127.0.0.1" and first.main_port not in (-1, 1) and first.main_port == first.main_port
    assert cluster_environment(2).main_address == "gone.example"  # of several machines the user names the first
    monkeypatch.setenv("LOCAL_RANK", "1")  # a child has what its parent has chosen
    assert (cluster_environment(1).main_address, cluster_environment(1).main_port) == ("gone.example", 1)


def test_a_step_of_a_slurm_job_is_counted_and_not_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train.sh", "SLURM_NTASKS": "4", "SLURM_NODEID": "0"}
    step = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NTASKS_PER_NODE": "4"}
    for name, value in (job | step).items():
        monkeypatch.setenv(name, value)
    srun = cluster_environment(1)
    srun.validate_settings(2, 1)
    assert (srun.world_size(), srun.global_rank(), srun.local_rank()) == (2, 1, 1)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")  # a shell of salloc
    assert not cluster_environment(1).creates_processes_externally
