"""Callbacks that know nothing of this project: what they log reaches each tracker, and costs no row of the run's."""

import csv
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor
from support import tiny
from support.offline_run import OfflineRun

from deepcluster.system.progress import Progress
from deepcluster.tracking.settings import LoggerSettings, MLflowSettings, TensorBoardSettings, WandbSettings
from deepcluster.tracking.tracked_run import TrackedRun, read_logged
from deepcluster.training.record import MetricsCSV, RunRecord
from deepcluster.training.report import EpochReport

N_BATCHES = tiny.N_IMAGES // tiny.BATCH


class Stranger(pl.Callback):
    """Logs by each of Lightning's ways."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        pl_module.log("mine/by_self", float(trainer.global_step), on_step=True, on_epoch=False)
        assert trainer.logger is not None and pl_module.logger is trainer.logger
        trainer.logger.log_metrics({"mine/by_logger": float(batch_idx)}, step=trainer.global_step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for logger in trainer.loggers:
            logger.log_hyperparams({"mine": 1})


class Raw(pl.Callback):
    """Goes past Lightning, to wandb's own run."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert trainer.logger is not None
        trainer.logger.experiment.log({"mine/raw": 1.0})


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


def run(folder: Path, settings: LoggerSettings, *more: pl.Callback, resume: bool = False, **tiny_run: Any) -> tiny.Run:
    """A tiny run as run/assemble.py puts it together, to its end or to a kill."""
    folder.mkdir(exist_ok=True)
    tracker = settings.open(TrackedRun(folder=folder, config={"seed": 1}, say=print))
    record = RunRecord(MetricsCSV(folder), folder=folder, settings=settings, tracker=tracker)
    trainer = {"logger": record.loggers, "log_every_n_steps": 1}
    built = tiny.build(folder, trainer=trainer, every_n_steps=2, **tiny_run)
    built.reassign.record = record
    report = EpochReport(built.reassign, Progress(bars=False), record)
    built.trainer.callbacks[1:1] = [report, LearningRateMonitor("step"), Stranger(), *more]  # type: ignore[attr-defined]
    status = "stopped"
    try:
        built.fit(resume=resume)
        status = "finished"
    except tiny.Killed:
        pass
    finally:
        record.close(status)
    return built


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_metrics_csv_has_their_last_value_of_each_epoch(tmp_path: Path) -> None:
    run(tmp_path, LoggerSettings(), max_epochs=2)
    written = rows(tmp_path)
    assert [row["mine/by_self"] for row in written] == [str(float(N_BATCHES)), str(float(2 * N_BATCHES))]
    assert [row["mine/by_logger"] for row in written] == [str(N_BATCHES - 1.0)] * 2
    assert [row["lr-SGD/pg1"] for row in written] == ["0.05"] * 2
    assert all(row["train/loss"] and row["cluster/objective"] for row in written)


def test_they_change_no_number_of_the_run(tmp_path: Path) -> None:
    run(tmp_path / "with", LoggerSettings(), max_epochs=2)
    plain = tiny.build(tmp_path / "without", max_epochs=2)
    record = plain.reassign.record = RunRecord(MetricsCSV(tmp_path / "without"))
    plain.trainer.callbacks.insert(1, EpochReport(plain.reassign, Progress(bars=False), record))  # type: ignore[attr-defined]
    plain.fit()
    for with_them, without in zip(rows(tmp_path / "with"), rows(tmp_path / "without"), strict=True):
        assert without.items() - with_them.items() <= {(k, v) for k, v in without.items() if k.startswith("time/")}


def test_wandb_loses_no_row_of_the_runs_and_takes_theirs_over_a_kill(tmp_path: Path) -> None:
    """Their steps run ahead of the run's own, which W&B would drop."""
    run(tmp_path, WandbSettings(), Raw(), max_epochs=3, kill_after=(1, 3))
    run(tmp_path, WandbSettings(), Raw(), max_epochs=3, resume=True)
    parts = [OfflineRun(found) for found in sorted(tmp_path.glob("wandb/offline-run-*"))]
    history = [row for part in parts for row in part.history]
    assert [row["_row_step"] for row in history if "_row_step" in row] == [1, 2, 4, 5, 7, 8]
    steps = [row["_step"] for row in history]
    assert steps == sorted(set(steps)), "a step twice is dropped"
    losses = {row["epoch"]: row["train/loss"] for row in history if "train/loss" in row}
    assert losses == {int(row["epoch"]): pytest.approx(float(row["train/loss"])) for row in rows(tmp_path)}
    assert {row["mine/by_self"] for row in history if "mine/by_self" in row} == set(range(1, 3 * N_BATCHES + 1))
    assert sum("mine/raw" in row for row in history) >= 3 * N_BATCHES
    assert any("lr-SGD/pg1" in row for row in history) and parts[-1].config.keys() >= {"seed"}


def test_tensorboard_has_a_curve_by_steps_beside_the_runs_by_epochs(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run(tmp_path, TensorBoardSettings(), max_epochs=2)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert len(events.Scalars("mine/by_self")) == 2 * N_BATCHES
    assert [event.step for event in events.Scalars("train/loss")] == [0, 1]
    assert not (tmp_path / "tensorboard" / "hparams.yaml").exists()


def test_mlflow_has_both_and_is_finished_by_the_run_itself(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    run(tmp_path / "run", MLflowSettings(), max_epochs=2)
    stored = read_logged(tmp_path / "run", "mlflow")
    client = mlflow.MlflowClient(stored["uri"])
    assert len(client.get_metric_history(stored["id"], "mine/by_self")) == 2 * N_BATCHES
    assert [event.step for event in client.get_metric_history(stored["id"], "train/loss")] == [0, 1]
    found = client.get_run(stored["id"])
    assert found.info.status == "FINISHED" and found.data.params == {"seed": "1", "mine": "1"}


def test_early_stopping_sees_the_epochs_figures_and_ends_the_training(tmp_path: Path) -> None:
    never_better = EarlyStopping("train/loss", min_delta=100.0, patience=1)
    built = run(tmp_path, LoggerSettings(), never_better, max_epochs=5)
    assert built.trainer.current_epoch == 2 and len(rows(tmp_path)) == 2
