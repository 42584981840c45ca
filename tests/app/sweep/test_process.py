"""Jobs of a sweep side by side: each with its share of the cores, its lines in its folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from threadpoolctl import threadpool_info, threadpool_limits

from deepcluster.app.sweep import process as sweep_process
from deepcluster.system import threads

PLUGINS = "hydra_plugins.hydra_{0}_launcher.{0}_launcher."


@pytest.mark.parametrize(
    ("launcher", "n_jobs", "expected"),
    [
        ({"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"}, 9, 1),
        ({"_target_": PLUGINS.format("joblib") + "JoblibLauncher", "n_jobs": 3}, 9, 3),
        ({"_target_": PLUGINS.format("joblib") + "JoblibLauncher", "n_jobs": 3}, 2, 2),
        ({"_target_": PLUGINS.format("joblib") + "JoblibLauncher", "n_jobs": -1}, 99, 8),
        ({"_target_": PLUGINS.format("joblib") + "JoblibLauncher", "n_jobs": -2}, None, 7),
        ({"_target_": PLUGINS.format("submitit") + "LocalLauncher"}, 5, 5),
        ({"_target_": PLUGINS.format("submitit") + "SlurmLauncher"}, 5, 1),
    ],
)
def test_cores_are_divided_by_the_jobs_that_run_at_once(
    launcher: dict[str, object], n_jobs: int, expected: int
) -> None:
    assert sweep_process.jobs_at_once(OmegaConf.create(launcher), n_jobs, 8) == expected


def test_a_share_of_the_cores_is_kept_by_threads_and_data_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setenv(threads.CORES, "")
    assert threads.n_cores() == 8
    before = torch.get_num_threads()
    with threadpool_limits():  # puts the pools back as they were
        try:
            sweep_process.take_cores(1)
            assert threads.n_cores() == 1 and torch.get_num_threads() == 1
            assert {pool["num_threads"] for pool in threadpool_info()} == {1}
            sweep_process.take_cores(3)  # the next job of the same process
            assert threads.n_cores() == 3
        finally:
            torch.set_num_threads(before)


def test_what_a_job_prints_goes_to_its_folder_also_from_processes_that_it_starts(tmp_path: Path) -> None:
    code = f"""
import os, subprocess, sys
from pathlib import Path
from deepcluster.app.sweep.process import output_in
print("before")
with output_in(Path({str(tmp_path)!r})):
    print("job")
    print("its error", file=sys.stderr)
    subprocess.run(["echo", "its child"], check=True)
print("after")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("before\nafter\n", "")
    assert sorted((tmp_path / "output.log").read_text().splitlines()) == ["its child", "its error", "job"]
