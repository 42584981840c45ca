"""MLflow in a file of its own, by asking its client."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from deepcluster.tracking.settings import MLflowSettings
from deepcluster.tracking.tracked_run import TrackedRun, read_logged
from deepcluster.tracking.tracker import Row, Table, Tracker

mlflow = pytest.importorskip("mlflow")
pytest.importorskip("sqlalchemy")
SIZES = torch.tensor([1, 2, 2, 3, 5, 6, 9, 10, 10])


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_NAME"):
        monkeypatch.delenv(name, raising=False)


def opened(folder: Path, config: dict[str, Any], **settings: Any) -> Tracker:
    logger = MLflowSettings(**settings).named("by folder", "sweep")
    logger.check()
    tracker = logger.open(TrackedRun(folder=folder, config=config, say=print))
    assert tracker is not None
    return tracker


def test_what_is_written_can_be_read_back_over_a_resume(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a"
    folder.mkdir(parents=True)
    config = {"clustering": {"k": 9}, "trainer": {"max_epochs": 1}}
    tracker = opened(folder, config, project="mine", tags=["night"])
    picture = Image.new("RGB", (30, 20), (200, 10, 10))
    tracker.log_row(Row(epoch=0, step=1, numbers={"cluster/k": 9.0}, sizes=SIZES, picture=picture))
    tracker.close("stopped")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    run_id = read_logged(folder, "mlflow")["id"]
    assert client.get_run(run_id).info.status == "KILLED"

    config["trainer"]["max_epochs"] = 2
    tracker = opened(folder, config, project="mine")
    assert client.get_run(run_id).info.status == "RUNNING"
    tracker.log_row(Row(epoch=1, step=4, numbers={"cluster/k": 8.0}))
    table = Table(columns=["", "trained"], rows=[["k-NN, test", 0.75], ["NMI", None]])
    tracker.log_row(Row(epoch=2, step=6, tables={"figures": table}))
    (folder / "final.npz").write_bytes(b"clusters")
    tracker.log_files("assignment", "final", [folder / "final.npz"])
    tracker.log_summary({"final/knn_accuracy": 0.75}, 2)
    tracker.close("finished")

    experiment = client.get_experiment_by_name("mine")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_id, run.info.status, run.info.run_name) == (run_id, "FINISHED", "by folder")
    assert run.data.params == {"clustering.k": "9", "trainer.max_epochs": "1"}
    assert run.data.tags["group"] == "sweep" and "night" in run.data.tags
    history = client.get_metric_history(run_id, "cluster/k")
    assert [(event.step, event.value) for event in history] == [(0, 9.0), (1, 8.0)]
    assert run.data.metrics["final/knn_accuracy"] == 0.75
    assert [run.data.metrics[f"cluster/size_{name}"] for name in ("smallest", "median", "largest")] == [1, 5, 10]

    def content(path: str) -> bytes:
        files = Path(run.info.artifact_uri.removeprefix("file://"))
        assert files.is_relative_to(tmp_path / "runs"), "beside the run, not where the command was typed"
        return (files / path).read_bytes()

    assert json.loads(content("config.json")) == config
    sizes = json.loads(content("cluster_sizes/epoch_00000.json"))
    assert sizes == {"clusters": [3, 1, 2, 0, 3], "edges": [0.5, 2.5, 4.5, 6.5, 8.5, 10.5]}
    assert content("assignment/final/final.npz") == b"clusters"
    assert content("tables/figures.csv") == b',trained\n"k-NN, test",0.75\nNMI,\n'
    (image,) = [file.path for file in client.list_artifacts(run_id, "images") if file.path.endswith(".png")]
    assert "step+0" in image or "step%0" in image
    with Image.open(Path(run.info.artifact_uri.removeprefix("file://")) / image) as written:
        assert written.size == (30, 20) and written.convert("RGB").getpixel((5, 5)) == (200, 10, 10)


def test_jobs_of_a_sweep_share_one_file(tmp_path: Path) -> None:
    for name in ("0", "1"):
        (tmp_path / name).mkdir()
        opened(tmp_path / name, {}).close("failed" if name == "1" else "finished")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("deepcluster")
    states = [run.info.status for run in client.search_runs([experiment.experiment_id])]
    assert sorted(states) == ["FAILED", "FINISHED"]


def test_a_server_that_does_not_answer_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ValueError, match=r"logger=mlflow could not begin at http://127\.0\.0\.1:9.*sqlite:///"):
        opened(tmp_path, {}, tracking_uri="http://127.0.0.1:9")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ImportError, match=r"logger=mlflow needs an extra: pip install -e '\.\[mlflow\]'"):
        MLflowSettings().check()


def test_the_variables_of_mlflow_stand_in_for_keys_that_are_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MLflowSettings().named("by folder", None).project == "deepcluster"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "theirs")
    monkeypatch.setenv("MLFLOW_RUN_NAME", "night")
    settings = MLflowSettings().named("by folder", None)
    assert (settings.project, settings.name) == ("theirs", "night")
    keys = MLflowSettings(project="mine", name="day").named("by folder", None)
    assert (keys.project, keys.name) == ("mine", "day")
