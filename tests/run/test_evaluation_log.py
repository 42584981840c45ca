"""An evaluation's numbers reach the logger: TensorBoard's file, MLflow, and Weights & Biases without an account."""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from support.configs import CONFIGS
from support.offline_run import OfflineRun

from deepcluster.app.hydra_setup import register
from deepcluster.run.evaluate import log_results, open_tracker
from deepcluster.settings.eval import EvalConfig, eval_config
from deepcluster.tracking.on_tensorboard import TensorBoardTracker
from deepcluster.tracking.tracked_run import LOGGED_FILE, TrackedRun, update_logged
from deepcluster.tracking.tracker import Tracker

RESULTS = {"ckpt": "a/b", "epochs": 3, "knn_accuracy": 0.625}


@pytest.fixture(autouse=True)
def hydra() -> Iterator[None]:
    register()
    with initialize_config_dir(str(CONFIGS), version_base="1.3", job_name="test"):
        yield


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


def settings(name: str, *more: str) -> EvalConfig:
    typed = ["ckpt=run", f"logger={name}", *more]
    return eval_config(compose("eval", overrides=typed), typed)


def opened(name: str, folder: Path, run: Path | None = None) -> AbstractContextManager[Tracker | None]:
    config = settings(name)
    return open_tracker(
        config.logger, TrackedRun(folder=folder, config=asdict(config), say=print, job="eval", of_run=run)
    )


def log(name: str, folder: Path, run: Path | None) -> None:
    with opened(name, folder, run) as tracker:
        assert tracker is not None
        log_results(tracker, RESULTS, epoch=3)


def offline_folders(folder: Path) -> list[Path]:
    return sorted(folder.glob("wandb/offline-run-*"))


def test_csv_is_results_json_and_nothing_else(tmp_path: Path) -> None:
    with opened("csv", tmp_path) as tracker:
        assert tracker is None
    assert not list(tmp_path.iterdir())


def test_tensorboard_holds_each_number_at_the_networks_epoch(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log("tensorboard", tmp_path, None)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("eval/knn_accuracy")] == [(3, 0.625)]
    assert [event.value for event in events.Scalars("eval/epochs")] == [3.0]


def test_wandb_has_a_run_of_its_own_for_a_file_of_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log("wandb", tmp_path, None)
    (folder,) = offline_folders(tmp_path)
    run = OfflineRun(folder)
    assert (run.summary["eval/knn_accuracy"], run.summary["eval/epochs"]) == (0.625, 3.0)
    assert run.run.job_type == "eval" and run.config["ckpt"] == "run" and run.config["evaluation"]["kind"]
    assert run.run.run_id == json.loads((tmp_path / LOGGED_FILE).read_text())["wandb"]["id"]
    assert "wandb sync" in capsys.readouterr().out
    log("wandb", tmp_path, None)  # the same folder again is the same run
    assert {OfflineRun(found).run.run_id for found in offline_folders(tmp_path)} == {run.run.run_id}


def test_wandb_continues_the_run_that_was_trained_with_it(tmp_path: Path) -> None:
    of_run, folder = tmp_path / "run", tmp_path / "evaluated"
    update_logged(of_run, "wandb", id="abc123", project="mine", entity=None, step=9)
    log("wandb", folder, of_run)
    assert not offline_folders(of_run) and not (folder / LOGGED_FILE).exists()
    run = OfflineRun(offline_folders(folder)[0])
    assert (run.run.run_id, run.run.project, run.run.resume) == ("abc123", "mine", True)
    assert run.summary["eval/knn_accuracy"] == 0.625
    # what the run says of itself stays as it was
    assert run.config.keys() <= {"_wandb"} and not run.run.job_type and not run.run.display_name and not run.history


def test_an_evaluation_that_fails_does_not_make_its_run_a_failed_one(tmp_path: Path) -> None:
    update_logged(tmp_path / "run", "wandb", id="abc123", project="mine", entity=None)
    for name, of_run in (("other", tmp_path / "run"), ("own", None)):
        with (
            pytest.raises(ValueError),
            opened("wandb", tmp_path / name, of_run),
        ):
            raise ValueError("no test images")
    codes = [OfflineRun(offline_folders(tmp_path / name)[0]).of("exit")[0].exit_code for name in ("other", "own")]
    assert codes == [0, 1]


def test_mlflow_continues_the_run_that_was_trained_with_it(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    trained = settings("mlflow").logger
    tracker = trained.open(TrackedRun(folder=tmp_path / "run", config={"a": 1}, say=print))
    assert tracker is not None
    tracker.close("finished")
    log("mlflow", tmp_path / "elsewhere" / "evaluated", tmp_path / "run")
    stored = json.loads((tmp_path / "run" / LOGGED_FILE).read_text())["mlflow"]
    client = mlflow.MlflowClient(stored["uri"])
    (event,) = client.get_metric_history(stored["id"], "eval/knn_accuracy")
    assert (event.step, event.value) == (3, 0.625)
    run = client.get_run(stored["id"])
    assert run.info.status == "FINISHED" and run.data.params == {"a": "1"}


def test_a_logger_that_fails_fails_no_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def gone(*_: object) -> None:
        raise ConnectionError("the server is gone\nwith details")

    for name in ("log_summary", "close"):
        monkeypatch.setattr(TensorBoardTracker, name, gone)
    log("tensorboard", tmp_path, None)
    told = capsys.readouterr().out
    assert "failed (the server is gone); results.json has the numbers" in told
