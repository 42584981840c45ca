"""What is told after Ctrl-C and after a kill: train.py and eval.py go on by other commands."""

import sys
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from deepcluster.app.command_line import start
from deepcluster.app.eval_command import how_to_repeat
from deepcluster.app.run_failure import report_failure
from deepcluster.app.train_command import how_to_resume


@pytest.mark.parametrize(
    ("how", "told", "not_told"),
    [
        (how_to_resume, "before its first checkpoint", "output_dir"),
        (how_to_repeat, "same command with output_dir=", "checkpoint"),
    ],
)
def test_a_stop_by_hand_tells_how_this_program_goes_on(
    how: Callable[[Path], str], told: str, not_told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, report_failure(tmp_path, "train", how):
        raise KeyboardInterrupt
    said = capsys.readouterr().err
    assert ended.value.code == 130 and told in said and not_told not in said


def test_a_sweeps_process_that_is_killed_ends_with_the_setting_to_lower(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        raise BrokenProcessPool("A worker process was killed by SIGKILL")

    monkeypatch.setattr(sys, "argv", ["train.py", "-m", "seed=1,2"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    with pytest.raises(SystemExit) as ended:
        start(main, "train")
    said = capsys.readouterr().err
    assert ended.value.code == 1 and "memory runs out" in said and "lower hydra.launcher.n_jobs=N" in said
