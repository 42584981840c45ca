import dataclasses
import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import tiny

from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.reduction import Reduction
from deepcluster.features import storage
from deepcluster.features.settings import Extraction
from deepcluster.features.storage import Storage, choose_storage
from deepcluster.models.lenet import LeNet5
from deepcluster.system.machine import free_memory
from deepcluster.training.clusterer import Clusterer

GB = 10**9


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One with 8 GB of free memory and 5 GB of free disk."""
    monkeypatch.setattr(storage, "free_memory", lambda: 8 * GB)
    monkeypatch.setattr(storage, "free_disk", lambda folder: 5 * GB)


def chosen(n: int, *, store: str = "auto", dtype: str = "auto", unit: bool = True, gb: float | None = None) -> str:
    found = choose_storage(store, dtype, n=n, dim=250, unit_length=unit, memory_gb=gb, folder=Path("scratch"))
    return f"{str(found.dtype).removeprefix('torch.')} {'disk' if found.folder else 'memory'}"


def test_the_smallest_change_that_makes_room_is_chosen(machine: None) -> None:
    """4 GB, half of what is free, are 4 million rows of 250 float32 numbers."""
    assert chosen(4_000_000) == "float32 memory"
    assert chosen(4_000_001) == "float16 memory"
    assert chosen(8_000_001) == "float16 disk"
    assert chosen(4_000_001, unit=False) == "float32 disk"  # numbers of any size are not rounded unasked
    assert chosen(4_000_001, dtype="float32") == "float32 disk"
    assert chosen(1_000, store="disk") == "float32 disk"
    assert chosen(1_000, dtype="float16", unit=False) == "float16 memory"
    assert chosen(1_000_001, gb=1) == "float16 memory"


def test_no_room_is_told_with_the_way_out(machine: None) -> None:
    with pytest.raises(
        ValueError, match=r"extraction.store=memory: 9,000,000 x 250 .* 4.5 GB at least, more than half of"
    ):
        chosen(9_000_000, store="memory")
    with pytest.raises(ValueError, match=r"more than extraction.memory_gb=0.5; set extraction.store=disk"):
        chosen(9_000_000, store="memory", gb=0.5)
    with pytest.raises(ValueError, match=r"10.0 GB, .*where 5.0 GB are free; .*extraction.scratch=DIR"):
        chosen(20_000_000)


def test_settings_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"extraction.store must be one of auto, memory, disk, got 'ram'"):
        Extraction(store="ram")
    with pytest.raises(ValueError, match=r"extraction.store_dtype must be one of auto, float32, float16"):
        Extraction(store_dtype="bfloat16")
    with pytest.raises(ValueError, match=r"extraction.memory_gb must be above 0"):
        Extraction(memory_gb=0)
    gone = Extraction(scratch=str(tmp_path / "gone"))
    with pytest.raises(ValueError, match=r"extraction.scratch=.*gone: there is no such folder"):
        gone.storage(10, 2, unit_length=True, folder=tmp_path)


def test_a_mapped_tensor_holds_what_is_written_and_leaves_no_file(tmp_path: Path) -> None:
    tensor = Storage(dtype=torch.float16, folder=tmp_path).allocate(1001, 3)
    tensor[:] = torch.arange(3003).view(1001, 3) / 4
    assert tensor.shape == (1001, 3) and tensor.dtype == torch.float16 and tensor.is_contiguous()
    assert not list(tmp_path.iterdir())  # its name is gone, so that a kill leaves nothing either
    assert float(tensor[500, 2]) == 1502 / 4


def test_a_full_disk_is_told_before_anything_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(file: int, start: int, n_bytes: int) -> None:
        assert n_bytes == 1000 * 8 * 4
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"No space left on device for 0 MB of reduced features.*extraction.scratch=DIR"):
        Storage(folder=tmp_path).allocate(1000, 8)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_goes_and_what_is_in_use_stays(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = socket.gethostname()
    of_dead, of_us = tmp_path / f".{host}-{dead.pid}.features", tmp_path / f".{host}-{os.getppid()}.features"
    elsewhere = tmp_path / f".{host}x-{dead.pid}.features"
    for file in (of_dead, of_us, elsewhere):
        file.write_bytes(b"x")
    Storage(folder=tmp_path).allocate(10, 2)
    assert not of_dead.exists() and of_us.exists() and elsewhere.exists()


def test_float16_refuses_numbers_that_it_cannot_hold() -> None:
    Storage(dtype=torch.float16).check(torch.tensor([[-65_000.0]]))
    with pytest.raises(ValueError, match=r"up to 65,504, a reduced feature is 70,000; .*store_dtype=float32"):
        Storage(dtype=torch.float16).check(torch.tensor([[1.0], [-70_000.0]]))


def clusterer(kept: Storage, *, buffer_mb: int = 64) -> Clusterer:
    pictures = tiny.images()
    return Clusterer(
        images=pictures,
        view=tiny.feature_view(tiny.View(size=16), pictures, tiny.MEAN, tiny.STD),
        extraction=Extraction(batch_size=13, buffer_mb=buffer_mb),
        reduction=Reduction(dim=8),
        clustering=KMeans(k=6),
        seed=3,
        storage=kept,
    )


@pytest.mark.parametrize("buffer_mb", [0, 64])
def test_on_disk_in_float32_the_assignment_is_the_same_and_in_float16_nearly(buffer_mb: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone, device = LeNet5(1, 16, batch_norm=True), torch.device("cpu")
    found = {}
    for name, kept in (
        ("memory", Storage()),
        ("disk", Storage(folder=tmp_path / "scratch")),
        ("half", Storage(dtype=torch.float16, folder=tmp_path / "scratch")),
    ):
        found[name], _ = clusterer(kept, buffer_mb=buffer_mb).assign(backbone, device=device, moment="epoch 0")
    assert torch.equal(found["disk"].labels, found["memory"].labels)
    assert torch.equal(found["disk"].centroids, found["memory"].centroids)
    assert found["disk"].objective == found["memory"].objective
    assert found["half"].objective == pytest.approx(found["memory"].objective, rel=1e-3)
    assert found["half"].objective != found["memory"].objective  # it was float16 indeed
    assert (found["half"].labels == found["memory"].labels).float().mean() > 0.95
    assert not list((tmp_path / "scratch").iterdir())


def test_a_container_s_limit_counts_its_file_cache_as_free(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable: 8000000 kB\n")
    cgroup = tmp_path / "cgroup"
    cgroup.mkdir()
    assert free_memory(tmp_path / "proc", cgroup) == 8_000_000 * 1024
    for name, text in (("memory.max", "max\n"), ("memory.current", "300\n"), ("memory.stat", "inactive_file 50\n")):
        (cgroup / name).write_text(text)
    assert free_memory(tmp_path / "proc", cgroup) == 8_000_000 * 1024
    (cgroup / "memory.max").write_text("1000\n")
    assert free_memory(tmp_path / "proc", cgroup) == 1000 - 300 + 50


@pytest.mark.parametrize(
    ("line", "place", "limit", "used", "cache"),
    [
        ("0::/slurm/job_7/step_0", "slurm/job_7", "memory.max", "memory.current", "inactive_file"),
        (
            "4:cpu,memory:/slurm/job_7/step_0",
            "memory/slurm/job_7",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file",
        ),
    ],
)
def test_a_job_s_limit_counts_though_the_root_has_none(
    line: str, place: str, limit: str, used: str, cache: str, tmp_path: Path
) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text("MemAvailable: 8000000 kB\n")
    (tmp_path / "proc" / "self" / "cgroup").write_text(f"9:name=systemd:/\n{line}\n")
    job = tmp_path / "cgroup" / place
    job.mkdir(parents=True)
    for name, text in ((limit, "1000"), (used, "300"), ("memory.stat", f"{cache} 50")):
        (job / name).write_text(f"{text}\n")
    assert free_memory(tmp_path / "proc", tmp_path / "cgroup") == 1000 - 300 + 50


def test_what_was_chosen_stands_in_the_settings() -> None:
    settings = dataclasses.replace(Extraction(), store_dtype="float16")
    assert settings.storage(10, 2, unit_length=False, folder=Path()).dtype == torch.float16
