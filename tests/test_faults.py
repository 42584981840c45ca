"""A few of the faults that `python -m benchmarks.faults` does to real runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("part", ["kills", "files"])
def test_faults_do_not_change_a_runs_result(part: str, tmp_path: Path) -> None:
    """Four kills, one in each phase, one of them twice; a last.ckpt that is cut, changed, another's or gone."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.faults", part, "--kills", "4", "--folder", str(tmp_path)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{part}: " in done.stdout and "ended as they should" in done.stdout
