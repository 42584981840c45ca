"""metrics.csv: one row per epoch, continued by a resumed run."""

import csv
from pathlib import Path

from deepcluster.training.csv_log import EpochCSV


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_logged_at_start_and_end_of_an_epoch_stands_in_one_row(tmp_path: Path) -> None:
    log = EpochCSV(tmp_path / "metrics.csv")
    log.log_metrics({"cluster/nmi": 0.5, "epoch": 0})
    log.log_metrics({"train/loss": 2.0, "epoch": 0})
    log.log_metrics({"train/loss": 1.0, "epoch": 1})
    assert rows(log.path) == [
        {"epoch": "0", "cluster/nmi": "0.5", "train/loss": "2.0"},
        {"epoch": "1", "cluster/nmi": "", "train/loss": "1.0"},
    ]


def test_a_resumed_run_keeps_the_rows_before_and_replaces_its_own(tmp_path: Path) -> None:
    first = EpochCSV(tmp_path / "metrics.csv")
    for epoch, loss in ((0, 3.0), (1, 2.0)):
        first.log_metrics({"train/loss": loss, "epoch": epoch})
    resumed = EpochCSV(tmp_path / "metrics.csv")  # killed after epoch 1 was logged, before it was saved
    resumed.log_metrics({"train/loss": 2.5, "epoch": 1})
    resumed.log_metrics({"train/loss": 1.5, "epoch": 2})
    assert [row["train/loss"] for row in rows(first.path)] == ["3.0", "2.5", "1.5"]


def test_nothing_but_the_file_is_left_in_the_folder(tmp_path: Path) -> None:
    EpochCSV(tmp_path / "metrics.csv").log_metrics({"train/loss": 1.0, "epoch": 0})
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]
