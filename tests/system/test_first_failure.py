"""Who is who before there is a process group, and which of several failing processes speaks."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deepcluster.system import distributed
from deepcluster.system.first_failure import FailedElsewhere, FirstFailure, ProcessLost

NAMES = ["RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID"]
NAMES += ["SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NUM_TASKS", "SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_STEP_ID"]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch):
    """Sets the variables that a starter sets, and no others."""

    def started(**values: str) -> None:
        for name in NAMES:
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    started()
    return started


def test_alone_a_process_is_the_main_one(started) -> None:
    assert distributed.is_main_process() and distributed.n_started() == 1 and distributed.starter() is None


def test_ranks_of_lightning_torchrun_and_srun(started) -> None:
    started(LOCAL_RANK="1", WORLD_SIZE="2", NODE_RANK="0")  # Lightning's child
    assert not distributed.is_main_process() and distributed.n_started() == 2 and distributed.has_starter()
    started(LOCAL_RANK="0", NODE_RANK="1", WORLD_SIZE="4")  # the first process of the second node
    assert not distributed.is_main_process() and not distributed.has_starter()
    started(RANK="2", LOCAL_RANK="0", GROUP_RANK="1", WORLD_SIZE="4", TORCHELASTIC_RUN_ID="none")
    assert distributed.rank_at_start() == 2 and distributed.starter() == "torchrun"
    started(SLURM_PROCID="3", SLURM_LOCALID="1", SLURM_STEP_NUM_TASKS="4", SLURM_JOB_ID="77")
    assert (distributed.rank_at_start(), distributed.local_rank(), distributed.n_started()) == (3, 1, 4)
    assert distributed.starter() == "srun" and not distributed.is_main_process()
    assert distributed.agreed_folder("runs/2026-11-22_10-00-00", str) == "runs/slurm_77_0"
    started(SLURM_PROCID="0", SLURM_JOB_ID="77", SLURM_NTASKS="4")  # a script of sbatch, without srun
    assert distributed.is_main_process() and distributed.n_started() == 1 and distributed.starter() is None
    assert distributed.agreed_folder("runs/x", str) == "runs/x"


def test_lightning_sees_the_same_ranks_under_slurm(started, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning_fabric.plugins.environments import SLURMEnvironment

    started(SLURM_PROCID="3", SLURM_LOCALID="1", SLURM_STEP_NUM_TASKS="4", SLURM_JOB_ID="77")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")  # Lightning asks for it
    monkeypatch.setenv("SLURM_NODEID", "1")
    assert SLURMEnvironment.detect()
    lightning = SLURMEnvironment()
    assert lightning.global_rank() == distributed.rank_at_start()
    assert lightning.local_rank() == distributed.local_rank()
    assert lightning.world_size() == distributed.n_started()


def test_the_first_to_fail_speaks_and_the_next_keeps_quiet(started, tmp_path: Path) -> None:
    started(LOCAL_RANK="0", WORLD_SIZE="2")
    with pytest.raises(ValueError, match="broken"), FirstFailure(tmp_path).one_reports():
        raise ValueError("broken")
    with pytest.raises(FailedElsewhere, match="ValueError: broken"), FirstFailure(tmp_path).one_reports():
        raise RuntimeError("[gloo] Connection closed by peer")


def test_a_failure_of_an_earlier_run_in_the_folder_counts_no_more(started, tmp_path: Path) -> None:
    started(LOCAL_RANK="0", WORLD_SIZE="2")
    (tmp_path / ".failed").write_text("0\nold\n")
    os.utime(tmp_path / ".failed", (time.time() - 3600,) * 2)
    with pytest.raises(ValueError, match="new"), FirstFailure(tmp_path).one_reports():
        raise ValueError("new")


def test_the_process_that_starts_the_others_forgets_an_earlier_failure_of_any_time(started, tmp_path: Path) -> None:
    (tmp_path / ".failed").write_text("0\nold\n")
    os.utime(tmp_path / ".failed", (time.time() + 60,) * 2)  # a disk whose clock is ahead
    first = FirstFailure(tmp_path)
    with pytest.raises(ValueError, match="new"), first.one_reports():
        started(LOCAL_RANK="0", WORLD_SIZE="2")
        raise ValueError("new")
    assert first.reason() == "ValueError: new"


def test_one_process_leaves_no_file(started, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="own"), FirstFailure(tmp_path).one_reports():
        raise ValueError("own")
    assert not list(tmp_path.iterdir())


def test_a_connection_that_broke_is_told_as_the_death_of_a_process(started, tmp_path: Path) -> None:
    started(LOCAL_RANK="0", WORLD_SIZE="2")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    child = subprocess.Popen([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
    child.wait()
    first = FirstFailure(tmp_path)
    first._ended.set()  # the thread would be the first to tell it
    first.follow([child])
    said = r"process 1 was killed \(SIGKILL\), as when memory runs out; continue with: deepcluster train resume="
    with pytest.raises(ProcessLost, match=said), first.one_reports():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1234")


def test_a_time_out_is_told_with_its_key(started, tmp_path: Path) -> None:
    started(LOCAL_RANK="0", WORLD_SIZE="2")
    with pytest.raises(ProcessLost, match=r"longer than trainer.timeout_minutes"), FirstFailure(tmp_path).one_reports():
        raise RuntimeError("[gloo/unbound_buffer.cc:81] Timed out waiting 1800000ms for recv operation to complete")


def test_a_process_that_waits_for_ever_ends_when_another_has_failed(tmp_path: Path) -> None:
    """As with NCCL, whose waits no error ends."""
    code = (
        "import sys, time; from pathlib import Path; from deepcluster.system import first_failure as f;"
        "f.PATIENCE_S = 0.5; first = f.FirstFailure(Path(sys.argv[1]));\n"
        "with first.one_reports():\n    print('waiting', flush=True); time.sleep(100)"
    )
    env = dict(os.environ, LOCAL_RANK="0", WORLD_SIZE="2")
    waiting = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=env, stdout=subprocess.PIPE, text=True)
    assert waiting.stdout is not None and waiting.stdout.readline() == "waiting\n"
    (tmp_path / ".failed").write_text("1\nValueError: broken\n")
    try:
        assert waiting.wait(timeout=20) == 1
    finally:
        waiting.kill()
