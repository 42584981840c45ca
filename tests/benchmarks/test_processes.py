"""The measurement of two processes against one, small, and its ratios by hand."""

import json
from pathlib import Path

import pytest

from benchmarks import processes


def test_ratios_are_of_neighbouring_turns() -> None:
    rates = {"1 x 1": [100.0, 50.0, 80.0], "1 x 2": [150.0, 90.0, 80.0], "2 x 1": [180.0, 95.0, 160.0]}
    assert processes.ratios(rates, "2 x 1", "1 x 1") == pytest.approx([1.8, 1.9, 2.0])
    assert processes.spread([1.8, 1.9, 2.0]) == "1.90 (1.80 to 2.00)"


@pytest.mark.slow
@pytest.mark.ddp
def test_every_phase_is_measured_on_every_team(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "rates.json"
    processes.main(
        ["--rounds", "1", "--steps", "2", "--out", str(out), "--", "data=fashion_mnist_mini", "data.limit=1000"]
    )
    rates = json.loads(out.read_text())
    assert list(rates) == processes.PHASES
    assert all(rate > 0 for teams in rates.values() for team in processes.TEAMS for rate in teams[team])
    said = capsys.readouterr().out
    assert all(phase.partition(",")[0] in said for phase in processes.PHASES)
