"""Jobs of a sweep side by side: how many at once, each with its lines in its folder."""

import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from deepcluster.app.sweep.end import jobs_at_once

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
    assert jobs_at_once(OmegaConf.create(launcher), n_jobs, 8) == expected


def test_what_a_job_prints_goes_to_its_folder_also_from_processes_that_it_starts(tmp_path: Path) -> None:
    code = f"""
import os, subprocess, sys
from pathlib import Path
from deepcluster.app.sweep.end import redirect_output
print("before")
with redirect_output(Path({str(tmp_path)!r})):
    print("job")
    print("its error", file=sys.stderr)
    subprocess.run(["echo", "its child"], check=True)
print("after")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("before\nafter\n", "")
    assert sorted((tmp_path / "output.log").read_text().splitlines()) == ["its child", "its error", "job"]
