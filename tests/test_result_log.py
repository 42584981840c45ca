"""An evaluation's numbers reach the logger: TensorBoard's file, and Weights & Biases without an account."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from deepcluster import command_line, config
from deepcluster.eval_config import EvalConfig
from deepcluster.result_log import log_results, open_logger
from deepcluster.training import wandb_log
from deepcluster.training.progress import Progress

CONFIGS = Path(__file__).parent.parent / "configs"
RESULTS = {"ckpt": "a/b", "epochs": 3, "knn_accuracy": 0.625}


@pytest.fixture(autouse=True)
def hydra() -> Iterator[None]:
    command_line.register()
    with initialize_config_dir(str(CONFIGS), version_base="1.3", job_name="test"):
        yield


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    yield
    wandb_log.finish(failed=False)


def settings(name: str, *more: str) -> EvalConfig:
    typed = ["ckpt=run", f"logger={name}", *more]
    return command_line.eval_settings(compose("eval", overrides=typed), typed)


def log(name: str, folder: Path, run: Path | None) -> None:
    typed = settings(name)
    logger = open_logger(typed.logger, typed, folder, run, Progress(bars=False))
    assert logger is not None
    log_results(logger, RESULTS, epoch=3)
    wandb_log.finish(failed=False)


def offline_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))


def written(file: Path, last: bytes) -> bytes:
    """The file's content, once it holds what was logged last: wandb's own process writes it, also after finish()."""
    until = time.monotonic() + 60
    while last not in (content := file.read_bytes()) and time.monotonic() < until:
        time.sleep(0.1)
    return content


def test_csv_is_results_json_and_nothing_else(tmp_path: Path) -> None:
    assert open_logger(settings("csv").logger, None, tmp_path, None, Progress(bars=False)) is None
    assert not list(tmp_path.iterdir())


def test_tensorboard_holds_each_number_at_the_networks_epoch(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log("tensorboard", tmp_path, None)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("eval/knn_accuracy")] == [(3, 0.625)]
    assert [event.value for event in events.Scalars("eval/epochs")] == [3.0]


@pytest.mark.usefixtures("offline")
def test_wandb_has_a_run_of_its_own_for_a_file_of_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log("wandb", tmp_path, None)
    (file,) = offline_files(tmp_path)
    content = written(file, b"eval/knn_accuracy")
    assert b"eval/knn_accuracy" in content and b"0.625" in content
    assert b"\x04eval" in content, "job_type: a string of 4 bytes in the run's record"
    assert (tmp_path / "wandb_id").read_text() in file.name
    assert "wandb sync" in capsys.readouterr().out
    log("wandb", tmp_path, None)  # the same folder again is the same run
    assert len({found.name for found in offline_files(tmp_path)}) == 1


@pytest.mark.usefixtures("offline")
def test_wandb_continues_the_run_that_was_trained_with_it(tmp_path: Path) -> None:
    run, folder = tmp_path / "run", tmp_path / "evaluated"
    config.save(config.settings(compose("train", overrides=["logger=wandb", "logger.project=mine"])), run)
    (run / "wandb_id").write_text("abc123")
    folder.mkdir()
    log("wandb", folder, run)
    (file,) = offline_files(folder)
    assert file.name == "run-abc123.wandb" and not offline_files(run)
    content = written(file, b"eval/knn_accuracy")
    assert b"eval/knn_accuracy" in content and b"mine" in content
    assert b"ckpt" not in content and b"\x04eval" not in content, "the run's config and job type stay as they were"
    assert not (folder / "wandb_id").exists()
