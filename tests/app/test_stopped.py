"""What is told after Ctrl-C: train.py and eval.py go on by other commands."""

from collections.abc import Callable
from pathlib import Path

import pytest

from deepcluster.app import command_line


@pytest.mark.parametrize(
    ("how", "told", "not_told"),
    [
        (command_line._how_to_resume, "before its first checkpoint", "output_dir"),
        (command_line._how_to_repeat, "same command with output_dir=", "checkpoint"),
    ],
)
def test_a_stop_by_hand_tells_how_this_program_goes_on(
    how: Callable[[Path], str], told: str, not_told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, command_line._told(tmp_path, how):
        raise KeyboardInterrupt
    said = capsys.readouterr().err
    assert ended.value.code == 130 and told in said and not_told not in said
