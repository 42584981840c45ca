"""The proof that numbers stayed: a run gives hashes, and a weight or a figure that differs is named."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import same_numbers


def test_differences_are_named_whatever_their_kind() -> None:
    before = {"base": {"a": "1", "b": "2"}, "only here": {"a": "1"}}
    after = {"base": {"a": "1", "b": "3", "c": "4"}, "only there": {"a": "2"}}
    assert same_numbers.differences(before, before) == []
    assert same_numbers.differences(before, after) == ["base: b differs", "base: c is new"]
    assert same_numbers.differences(after, before) == ["base: b differs", "base: c is gone"]


def test_seconds_and_dates_are_no_figures(tmp_path: Path) -> None:
    figures = {"trained": {"knn_accuracy": 0.5, "seconds": 3.0}, "clustering_s": 1.0}
    (tmp_path / "summary.json").write_text(json.dumps(figures))
    assert list(same_numbers.folder_hashes(tmp_path)) == ["summary.json: trained.knn_accuracy"]


@pytest.mark.slow
def test_a_run_is_recorded_and_a_changed_weight_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, runs = tmp_path / "before.json", tmp_path / "runs"
    assert same_numbers.main(["record", str(before), "--folder", str(runs), "--only", "smallest"]) == 0
    hashes: dict[str, dict[str, str]] = json.loads(before.read_text())
    assert {"checkpoints/last.ckpt: state_dict", "metrics.csv: train/loss", "clusters.csv"} <= hashes["smallest"].keys()
    assert same_numbers.main(["compare", str(before), str(before)]) == 0

    last = runs / "smallest" / "checkpoints" / "last.ckpt"
    content: dict[str, Any] = torch.load(last, weights_only=True)
    weight = next(iter(content["state_dict"].values()))
    weight.view(-1)[0] = torch.nextafter(weight.view(-1)[0], torch.tensor(1e9))  # its last bit
    torch.save(content, last)
    after = tmp_path / "after.json"
    after.write_text(json.dumps({"smallest": same_numbers.folder_hashes(runs / "smallest")}))
    capsys.readouterr()
    assert same_numbers.main(["compare", str(before), str(after)]) == 1
    assert capsys.readouterr().out == "smallest: checkpoints/last.ckpt: state_dict differs\n"
