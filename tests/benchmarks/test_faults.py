"""A few of the faults that `python -m benchmarks.faults` does to real runs."""

import os
import subprocess
import sys
from importlib import import_module
from operator import attrgetter
from pathlib import Path

import pytest
from support.configs import REPOSITORY

from benchmarks.faults.kills import AIMED_AT
from benchmarks.faults.runs import PHASES


def test_phases_are_where_the_code_is() -> None:
    """A phase that nobody enters would never be killed in."""
    assert set(AIMED_AT) <= set(PHASES)
    for place in (place for places in PHASES.values() for place in places):
        module, _, path = place.partition(":")
        assert callable(attrgetter(path)(import_module(module))), place


@pytest.mark.slow
def test_kills_do_not_change_a_runs_result(tmp_path: Path) -> None:
    """Four kills, one in each phase, one of them twice. (Damaged files: test_resuming.py, without whole runs.)"""
    part = "kills"
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
