"""A run's record: each moment once, also over a resume; a logger that fails costs nothing; the best and the tables."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pytorch_lightning.loggers import Logger
from support import tiny

from deepcluster.clustering.assignment import Assignment
from deepcluster.system.progress import Progress
from deepcluster.tracking.settings import LoggerSettings, RunsSettings
from deepcluster.tracking.tracked_run import TrackedRun
from deepcluster.tracking.tracker import Row, Table, Tracker
from deepcluster.training.record import MetricsCSV, RunRecord, recording
from deepcluster.training.report import EpochReport

LABELS = torch.tensor([0, 0, 1, 1, 1, -1])
CLUSTERS = Assignment(labels=torch.tensor([1, 1, 0, 0, 1, 0]), k=2, objective=1.0, centroids=torch.zeros(2, 1))
FIGURES = Table(columns=["", "untrained", "trained"], rows=[["k-NN", 0.5, 0.75]])


class Silent(Logger):
    """Stands for one of Lightning's loggers."""

    name, version = "", ""

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        raise ConnectionError("gone")

    log_hyperparams = log_metrics


class Heard(Tracker, Silent):
    """A tracker that keeps what it is told, and fails when asked to."""

    kind = "heard"

    def __init__(
        self, *, fails: bool = False, last_step: int | None = None, say: Callable[[str], None] = print
    ) -> None:
        super().__init__(TrackedRun(folder=Path(), config={}, say=say), last_step=last_step)
        self.rows: list[Row] = []
        self.kept: list[tuple[str, str, list[str]]] = []
        self.figures: dict[str, float] = {}
        self.ended: list[str] = []
        self.fails = fails

    def log_row(self, row: Row) -> None:
        if self.fails:
            raise ConnectionError("the server is gone\nwith details")
        self.rows.append(row)

    def log_files(self, kind: str, name: str, paths: list[Path]) -> None:
        assert all(path.is_file() for path in paths)
        self.kept.append((kind, name, [path.name for path in paths]))

    def log_summary(self, numbers: dict[str, float], epoch: int) -> None:
        self.figures |= numbers

    def close(self, status: str) -> None:
        if self.fails:
            raise ConnectionError("still gone")
        self.ended.append(status)


@dataclass(kw_only=True)
class Settings(RunsSettings):
    heard: Any = None

    def open(self, run: TrackedRun) -> Tracker:
        heard: Heard = self.heard
        return heard


def draw(assignment: Assignment, title: str) -> Image.Image:
    return Image.new("RGB", (4, 4))


def opened(folder: Path, heard: Heard | None = None, **settings: Any) -> RunRecord:
    (folder / "assignments").mkdir(parents=True, exist_ok=True)
    for name in ("samples.jsonl.gz", "epoch_00000.npz", "epoch_00001.npz", "final.npz"):
        (folder / "assignments" / name).touch()
    (folder / "clusters.csv").touch()
    return RunRecord(
        MetricsCSV(folder),
        folder=folder,
        settings=Settings(kind="heard", **settings),
        tracker=Heard() if heard is None else heard,
        picture=draw,
        labels=LABELS,
        classes=["cat", "dog"],
    )


def epoch(record: RunRecord, number: int, loss: float = 1.0) -> None:
    record.reassigned(number, {"cluster/k": 2.0}, CLUSTERS, number + 1)
    record.epoch_ended(number, {"train/loss": loss})


def test_a_moment_is_logged_once_also_when_a_resumed_run_repeats_it(tmp_path: Path) -> None:
    first, second = Heard(), Heard()
    record = opened(tmp_path, first)
    epoch(record, 0)
    record.reassigned(1, {"cluster/k": 2.0}, CLUSTERS, 2)  # killed in epoch 1, whose clustering is repeated
    record = opened(tmp_path, second)
    epoch(record, 1)
    record.ended(2, CLUSTERS, {}, FIGURES)
    epoch(opened(tmp_path, second), 2)  # trained on
    steps = [[row.step for row in heard.rows] for heard in (first, second)]
    assert steps == [[1, 2, 4], [5, 6, 7, 8]]
    assert [row.epoch for row in second.rows] == [1, 2, 2, 2]
    with (tmp_path / "metrics.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0", "1", "2"]


def test_what_a_kill_took_from_the_logger_comes_from_metrics_csv(tmp_path: Path) -> None:
    record = opened(tmp_path, Heard())
    for number in range(3):
        epoch(record, number, loss=float(number))
    heard = Heard(last_step=2)  # of steps 1, 2, 4, 5, 7, 8 it has on disk only the first epoch's
    record = opened(tmp_path, heard)
    epoch(record, 2, loss=2.0)  # the checkpoint is of the end of epoch 1
    told = [(row.step, row.epoch, row.numbers) for row in heard.rows]
    assert told[:2] == [(4, 1, {"cluster/k": 2.0}), (5, 1, {"train/loss": 1.0})]
    assert told[2:] == [(7, 2, {"cluster/k": 2.0}), (8, 2, {"train/loss": 2.0})]


def test_a_logger_chosen_later_gets_the_whole_run(tmp_path: Path) -> None:
    csv_only = RunRecord(MetricsCSV(tmp_path), folder=tmp_path)
    epoch(csv_only, 0)
    epoch(csv_only, 1)
    epoch(opened(tmp_path, heard := Heard()), 2)
    assert [row.step for row in heard.rows] == [1, 2, 4, 5, 7, 8]


def test_a_logger_that_fails_is_told_once_and_given_what_it_missed(tmp_path: Path) -> None:
    said: list[str] = []
    heard = Heard(say=said.append)
    record = opened(tmp_path, heard)
    heard.fails = True
    epoch(record, 0)
    assert said == ["heard      failed (the server is gone); the run goes on, metrics.csv has its numbers"]
    heard.fails = False
    epoch(record, 1)
    assert [row.step for row in heard.rows] == [1, 2, 4, 5]
    assert heard.rows[0].numbers == {"cluster/k": 2.0} and said[1:] == ["heard      answers again"]
    assert [row.picture is None for row in heard.rows] == [True, True, False, True]  # pictures do not wait in memory


def test_a_logger_that_cannot_even_be_closed_ends_no_run(tmp_path: Path) -> None:
    record = opened(tmp_path, Heard(fails=True))
    record.close("finished")


def test_a_picture_that_fails_costs_no_numbers(tmp_path: Path) -> None:
    said: list[str] = []
    record = opened(tmp_path, heard := Heard(say=said.append))
    record.picture = lambda assignment, title: 1 / 0  # type: ignore[assignment,return-value]
    epoch(record, 0)
    assert [row.numbers for row in heard.rows] == [{"cluster/k": 2.0}, {"train/loss": 1.0}] and "division" in said[0]


def test_a_full_disk_for_metrics_csv_is_not_passed_over(tmp_path: Path) -> None:
    record = opened(tmp_path)
    assert record.metrics is not None
    record.metrics.path = tmp_path / "metrics.csv" / "impossible"
    (tmp_path / "metrics.csv").touch()
    with pytest.raises(OSError):
        epoch(record, 0)


@pytest.mark.parametrize(
    ("every", "expected"), [(0, [False] * 4), (1, [True] * 4), (3, [True, False, False, True])], ids=str
)
def test_pictures_come_at_every_nth_reassignment(tmp_path: Path, every: int, expected: list[bool]) -> None:
    record = opened(tmp_path, heard := Heard(), pictures_every=every)
    for number in range(4):
        epoch(record, number)
    assert [row.picture is not None for row in heard.rows if row.sizes is not None] == expected


@pytest.mark.parametrize(
    ("assignments", "expected"),
    [("none", []), ("last", ["final"]), ("all", ["epoch_00000", "epoch_00001", "final"])],
)
def test_the_assignments_that_are_kept(tmp_path: Path, assignments: str, expected: list[str]) -> None:
    record = opened(tmp_path, heard := Heard(), assignments=assignments)
    epoch(record, 0)
    epoch(record, 1)
    record.ended(2, CLUSTERS, {}, FIGURES)
    assert [(kind, name) for kind, name, _ in heard.kept] == [("assignment", name) for name in expected]
    if expected:
        assert heard.kept[-1][2] == ["samples.jsonl.gz", "final.npz", "clusters.csv"]


def test_the_end_tells_figures_the_best_epochs_and_tables(tmp_path: Path) -> None:
    epoch(opened(tmp_path), 0, loss=0.25)  # by the process before
    record = opened(tmp_path, heard := Heard())
    epoch(record, 1, loss=0.5)
    record.ended(2, CLUSTERS, {"final/knn_accuracy": 0.75}, FIGURES)
    assert heard.figures == {"final/knn_accuracy": 0.75, "best/train/loss": 0.25}
    tables = heard.rows[-1].tables
    assert tables["figures"] is FIGURES
    assert tables["clusters"].columns == ["cluster", "images", "share", "class", "class_share"]
    # cluster 1 has labels 0, 0, 1; cluster 0 has 1, 1 and one unknown
    assert tables["clusters"].rows == [[0, 3, 0.5, "dog", 1.0], [1, 3, 0.5, "cat", pytest.approx(2 / 3)]]


@pytest.mark.parametrize(
    ("error", "status"), [(None, "finished"), (ValueError("no"), "failed"), (KeyboardInterrupt(), "stopped")], ids=str
)
def test_the_logger_learns_how_the_run_ended(tmp_path: Path, error: BaseException | None, status: str) -> None:
    settings = Settings(kind="heard", heard=(heard := Heard()))
    place = TrackedRun(folder=tmp_path, config={}, say=print)

    def run() -> None:
        with recording(settings, place, picture=draw, labels=None, classes=None):
            if error is not None:
                raise error

    if error is None:
        run()
    else:
        with pytest.raises(type(error)):
            run()
    assert heard.ended == [status]


@pytest.mark.parametrize("variable", ["LOCAL_RANK", "RANK"])
def test_only_the_main_process_tells_anybody(tmp_path: Path, monkeypatch: Any, variable: str) -> None:
    monkeypatch.setenv(variable, "1")
    settings = Settings(kind="heard", heard=(heard := Heard()))
    with recording(
        settings, TrackedRun(folder=tmp_path, config={}, say=print), picture=draw, labels=None, classes=None
    ) as r:
        epoch(r, 0)
        r.ended(1, CLUSTERS, {}, FIGURES)
    assert (heard.rows, heard.ended, list(tmp_path.iterdir())) == ([], [], [])


def test_a_loop_tells_its_record_what_metrics_csv_holds(tmp_path: Path) -> None:
    heard = Heard()
    run = tiny.build(tmp_path, max_epochs=2)
    record = RunRecord(
        MetricsCSV(tmp_path), folder=tmp_path, settings=Settings(kind="heard"), tracker=heard, picture=draw
    )
    run.reassign.record = record
    run.trainer.callbacks.append(EpochReport(run.reassign, Progress(bars=False), record))  # type: ignore[attr-defined]
    run.fit()
    assert [(row.epoch, row.sizes is not None) for row in heard.rows] == [(0, True), (0, False), (1, True), (1, False)]
    assert [int(row.sizes.sum()) for row in heard.rows if row.sizes is not None] == [tiny.N_IMAGES] * 2
    told: dict[int, dict[str, float]] = {0: {}, 1: {}}
    for row in heard.rows:
        told[row.epoch] |= row.numbers
    with (tmp_path / "metrics.csv").open() as file:
        written = {int(row.pop("epoch")): {k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)}
    assert told == written and {"train/loss", "cluster/objective", "time/features_s"} <= told[0].keys()


def test_the_plain_logger_draws_and_keeps_nothing() -> None:
    assert not LoggerSettings().draws_picture(1) and not LoggerSettings().keeps_assignment(last=True)
    assert not LoggerSettings().keeps_checkpoint()


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_logged_at_start_and_end_of_an_epoch_stands_in_one_row(tmp_path: Path) -> None:
    log = MetricsCSV(tmp_path)
    log.log_metrics({"cluster/nmi": 0.5, "epoch": 0})
    log.log_metrics({"train/loss": 2.0, "epoch": 0})
    log.log_metrics({"train/loss": 1.0, "epoch": 1})
    log.save()
    assert rows(log.path) == [
        {"epoch": "0", "cluster/nmi": "0.5", "train/loss": "2.0"},
        {"epoch": "1", "cluster/nmi": "", "train/loss": "1.0"},
    ]


def test_a_resumed_run_keeps_the_rows_before_and_replaces_its_own(tmp_path: Path) -> None:
    first = MetricsCSV(tmp_path)
    for epoch, loss in ((0, 3.0), (1, 2.0)):
        first.log_metrics({"train/loss": loss, "epoch": epoch})
    first.save()
    resumed = MetricsCSV(tmp_path)  # killed after epoch 1 was logged, before it was saved
    resumed.log_metrics({"train/loss": 2.5, "epoch": 1})
    resumed.log_metrics({"train/loss": 1.5, "epoch": 2})
    resumed.save()
    assert [row["train/loss"] for row in rows(first.path)] == ["3.0", "2.5", "1.5"]


def test_nothing_but_the_file_is_left_in_the_folder(tmp_path: Path) -> None:
    log = MetricsCSV(tmp_path)
    log.log_metrics({"train/loss": 1.0, "epoch": 0})
    log.save()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_a_callbacks_number_without_an_epoch_belongs_to_the_one_that_has_begun(tmp_path: Path) -> None:
    log = MetricsCSV(tmp_path)
    log.begin_epoch(3)
    log.log_metrics({"lr-SGD": 0.1, "mine/tensor": torch.tensor(2.0), "mine/text": "no number"}, step=70)  # type: ignore[dict-item]
    log.log_metrics({"lr-SGD": 0.05}, step=80)
    log.save()
    assert rows(log.path) == [{"epoch": "3", "lr-SGD": "0.05", "mine/tensor": "2.0"}]


def test_what_callbacks_tell_a_tracker_cannot_end_the_run_either() -> None:
    said: list[str] = []
    heard = Heard(say=said.append)
    heard.log_metrics({"x": 1.0}, 1)
    heard.log_hyperparams({"x": 1.0})
    assert said == ["heard      failed (gone); the run goes on, metrics.csv has its numbers"]
