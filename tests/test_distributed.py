"""Two processes act as one: same assignment, same order, and no rank waits for one that failed."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch

from deepcluster import distributed
from deepcluster.models.lenet import LeNet5

pytestmark = pytest.mark.ddp
SCRIPT = Path(__file__).parent / "two_processes.py"


def start(case: str, folder: Path) -> list[subprocess.CompletedProcess[str]]:
    """Run two_processes.py on ranks 0 and 1; a rank that waits for ever fails the test."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(2):
        env = dict(
            os.environ,
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE="2",
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
            OMP_NUM_THREADS="1",
        )
        command = [sys.executable, str(SCRIPT), case, str(folder)]
        processes.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    finished = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=240)
            finished.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
    finally:
        for process in processes:
            process.kill()
    return finished


def test_one_process_needs_no_process_group() -> None:
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.on_rank_zero("work", lambda: 5) == 5
    rows = torch.arange(6).view(3, 2)
    assert distributed.gather_interleaved(rows, 3) is rows
    with pytest.raises(KeyError), distributed.shared_failure("work"):
        raise KeyError("own error")


def test_two_processes_cluster_like_one(tmp_path: Path) -> None:
    finished = start("assign", tmp_path)
    assert [p.returncode for p in finished] == [0, 0], finished[0].stderr + finished[1].stderr
    results = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    assert torch.equal(results[0], results[1])
    torch.manual_seed(0)
    backbone = LeNet5(1, 16, batch_norm=True)
    clusterer = tiny.build(tmp_path / "alone").reassign.clusterer
    alone, _ = clusterer.assign(backbone, device=torch.device("cpu"), moment="epoch 0")
    assert (results[0] == alone.labels).float().mean() > 0.98  # up to the order in which floats are added


def test_a_failing_rank_is_named_on_the_other(tmp_path: Path) -> None:
    finished = start("fail", tmp_path)
    assert "train/3 is broken" in finished[1].stdout
    assert "rank 1" in finished[0].stdout and "train/3 is broken" in finished[0].stdout


def test_a_full_disk_on_rank_0_ends_both(tmp_path: Path) -> None:
    finished = start("full_disk", tmp_path)
    assert "OSError" in finished[0].stdout and "No space left on device" in finished[0].stdout
    assert "rank 0" in finished[1].stdout and "No space left on device" in finished[1].stdout


@pytest.mark.parametrize("case", ["fit", "fit_pic"])
def test_two_processes_train_on_halves_of_the_same_epoch(case: str, tmp_path: Path) -> None:
    finished = start(case, tmp_path)
    assert [p.returncode for p in finished] == [0, 0], finished[0].stderr + finished[1].stderr
    seen = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    for epoch in (0, 1):
        expected = seen[0]["expected"][epoch]
        assert torch.equal(seen[0]["indices"][epoch], expected[0::2])
        assert torch.equal(seen[1]["indices"][epoch], expected[1::2])
    assert torch.equal(seen[0]["weight"], seen[1]["weight"])
    assert torch.equal(seen[0]["head"], seen[1]["head"])
    in_use, k = seen[0]["k"]
    assert in_use == k[-1] and seen[1]["k"] == (in_use, k)
    n_rows = len(seen[0]["head"])
    assert in_use < n_rows if case == "fit_pic" else in_use == n_rows


def test_two_processes_resume_exactly(tmp_path: Path) -> None:
    start("fit", tmp_path / "whole")
    killed = start("fit_killed", tmp_path / "halves")
    assert all("Killed" in p.stderr for p in killed)
    resumed = start("fit_resumed", tmp_path / "halves")
    assert [p.returncode for p in resumed] == [0, 0], resumed[0].stderr + resumed[1].stderr
    whole, halves = (torch.load(tmp_path / run / "rank0.pt", weights_only=True) for run in ("whole", "halves"))
    assert torch.equal(whole["weight"], halves["weight"])
