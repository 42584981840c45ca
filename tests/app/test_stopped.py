"""What is told after Ctrl-C: train.py and eval.py go on by other commands."""

from collections.abc import Callable
from pathlib import Path

import pytest

from deepcluster.app.eval_command import how_to_repeat
from deepcluster.app.run_failure import told_in_one_line
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
    with pytest.raises(SystemExit) as ended, told_in_one_line(tmp_path, how):
        raise KeyboardInterrupt
    said = capsys.readouterr().err
    assert ended.value.code == 130 and told in said and not_told not in said
