"""Runs, kills, resumes and sweeps as typed, told to Weights & Biases and MLflow; what they wrote is read back."""

import base64
import csv
import hashlib
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from support.offline_run import OfflineRun
from support.typed import Typist

pytestmark = pytest.mark.slow

SIZES = ["method=deepcluster", "data.limit=300", "clustering.k=10", "reduction.dim=16"]
PROBE = ["evaluation.linear_probe.epochs=1", "evaluation.linear_probe.learning_rates=[0.1]"]
TINY = [*SIZES, "evaluation.enabled=false"]


@pytest.fixture(scope="module")
def typist(tmp_path_factory: pytest.TempPathFactory) -> Typist:
    return Typist(tmp_path_factory.mktemp("tracked"))


def segments(folder: Path) -> list[OfflineRun]:
    """A run's offline folders in the order of their making."""
    folders = sorted(folder.glob("wandb/offline-run-*"))
    return [OfflineRun(found, ended=found == folders[-1]) for found in folders]


def metrics(folder: Path) -> dict[int, dict[str, float]]:
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {int(row["epoch"]): {k: float(v) for k, v in row.items() if v and k != "epoch"} for row in rows}


def test_a_killed_and_resumed_run_is_one_run_with_every_number_once(typist: Typist) -> None:
    """kill -9 in the second epoch, after its clustering was logged; two parts, which wandb sync joins."""
    typed = [*SIZES, *PROBE, "trainer.max_epochs=2", "logger=wandb", "logger.assignments=all", "logger.checkpoint=true"]
    killed = typist.train(*typed, "output_dir=run", kill=["step", 1, 2])
    assert killed.status == -9
    done = typist.train("resume=run")
    assert done.status == 0, done.err
    assert done.out.count("wandb      offline") == 1
    folder = typist.folder / "run"
    first, second = segments(folder)
    assert first.file.name == second.file.name == f"run-{second.run.run_id}.wandb" and second.run.resume
    # the kill took what wandb's process had not written yet; the resumed run logs that too
    steps = [[row["_step"] for row in part.history] for part in (first, second)]
    assert steps[0] + steps[1] == [1, 2, 4, 5, 6]

    # numbers: each of metrics.csv, once, equal
    told: dict[int, dict[str, float]] = {}
    for row in first.history + second.history:
        epoch = told.setdefault(int(row["epoch"]), {})
        numbers = {name: value for name, value in row.items() if isinstance(value, int | float)}
        numbers = {name: value for name, value in numbers.items() if name[0] != "_" and name != "epoch"}
        assert not epoch.keys() & numbers.keys()
        epoch |= numbers
    written = metrics(folder)
    # the repeated clustering's seconds are those of its first time
    for epoch, row in written.items():
        same = {name: value for name, value in row.items() if epoch == 0 or not name.startswith("time/")}
        assert {name: told[epoch][name] for name in same} == pytest.approx(same, rel=1e-12)
        assert told[epoch].keys() == row.keys()

    # the config, as saved
    config = second.config
    assert config["clustering"]["k"] == 10 and config["reduction"]["dim"] == 16
    assert config["logger"]["kind"] == "wandb" and config["trainer"]["max_epochs"] == 2
    assert (second.run.display_name, second.run.run_group) == ("run", "")

    # sizes, pictures
    reassigned = [(part, row) for part in (first, second) for row in part.history if "cluster/sizes" in row]
    assert [row["epoch"] for _, row in reassigned] == ([0, 1, 2] if 1 in steps[0] else [1, 2])
    for part, row in reassigned:
        assert sum(row["cluster/sizes"]["values"]) == 10
        with Image.open(part.folder / "files" / row["clusters"]["path"]) as picture:
            assert picture.size == (row["clusters"]["width"], row["clusters"]["height"])
            assert len(set(picture.convert("L").getdata())) > 50, "not an empty sheet"

    # files: what was kept is what lies in the run's folder
    kept: dict[str, set[str]] = {}
    for part in (first, second):
        for artifact in part.of("artifact"):
            if artifact.type not in ("assignment", "model"):
                continue
            for entry in artifact.manifest.contents:
                content = Path(entry.local_path).read_bytes()
                assert entry.digest == base64.b64encode(hashlib.md5(content).digest()).decode(), entry.path
                (name,) = set(artifact.aliases) - {"latest"}
                kept.setdefault(f"{artifact.type}:{name}", set()).add(entry.path)
    kept.pop("assignment:epoch_00000", None)  # which the kill may have taken
    assert kept == {
        "assignment:epoch_00001": {"samples.jsonl.gz", "epoch_00001.npz"},
        "assignment:final": {"samples.jsonl.gz", "final.npz", "clusters.csv"},
        "model:final": {"final.ckpt"},
    }

    # the end: tables and summary
    summary = json.loads((folder / "summary.json").read_text())
    last = second.history[-1]
    figures = json.loads((second.folder / "files" / last["table/figures"]["path"]).read_text())
    columns = ["pixels", "patches", "untrained", "trained"]
    assert figures["columns"] == ["", *columns]
    named = {row[0]: row[1:] for row in figures["data"]}
    for title, name in (("k-NN accuracy, test images", "knn_accuracy"), ("NMI with the labels", "nmi_labels")):
        assert named[title] == [pytest.approx(summary[who][name]) for who in columns]
    clusters = json.loads((second.folder / "files" / last["table/clusters"]["path"]).read_text())
    assert sum(row[1] for row in clusters["data"]) == 300 and len(clusters["data"]) == 10
    assert second.summary["final/knn_accuracy"] == pytest.approx(summary["trained"]["knn_accuracy"])
    assert second.summary["untrained/knn_accuracy"] == pytest.approx(summary["untrained"]["knn_accuracy"])
    assert second.summary["patches/knn_accuracy"] == pytest.approx(summary["patches"]["knn_accuracy"])
    assert second.summary["best/train/loss"] == pytest.approx(min(row["train/loss"] for row in written.values()))
    assert second.of("exit")[0].exit_code == 0

    # trained on, and evaluated: still the same run
    done = typist.train("resume=run", "trainer.max_epochs=3")
    assert done.status == 0, done.err
    done = typist.eval("ckpt=run", "evaluation=cluster_quality", "logger=wandb", "output_dir=evaluated")
    assert done.status == 0, done.err
    _, _, third = segments(folder)
    (evaluated,) = segments(typist.folder / "evaluated")
    assert {third.run.run_id, evaluated.run.run_id} == {second.run.run_id}
    assert [row["_step"] for row in third.history] == [7, 8, 9] and third.config["trainer"]["max_epochs"] == 3
    assert [name for name in evaluated.summary if name.startswith("eval/")] and not evaluated.history


def test_a_sweeps_jobs_are_a_group_and_a_failed_one_is_marked(typist: Typist) -> None:
    """As a sweep, whose jobs share a process and must not share a wandb run."""
    lr = "optimizer.lr=0.05,1e30"
    done = typist.train("-m", *TINY, "trainer.max_epochs=1", lr, "logger=wandb", "logger.tags=[a]", "output_dir=sweep")
    assert done.status == 1
    jobs = [segments(folder)[0] for folder in sorted((typist.folder / "sweep").glob("[01]_*"))]
    assert [job.run.run_group for job in jobs] == ["sweep", "sweep"]
    names = [job.run.display_name for job in jobs]
    assert names[0].endswith("optimizer.lr=0.05") and names[1].endswith("optimizer.lr=1e+30")
    assert not [name for name in names if "logger" in name or "output_dir" in name]
    assert [list(job.run.tags) for job in jobs] == [["a"], ["a"]]
    assert jobs[0].run.run_id != jobs[1].run.run_id
    assert [job.of("exit")[0].exit_code for job in jobs] == [0, 1]


def test_ctrl_c_leaves_a_stopped_run(typist: Typist) -> None:
    stopped = typist.train(
        *TINY, "trainer.max_epochs=2", "logger=wandb", "output_dir=stopped", kill=["step", 1, 2, "SIGINT"]
    )
    assert stopped.status == 130, stopped.err
    (run,) = segments(typist.folder / "stopped")
    assert run.of("exit")[0].exit_code == 130


def test_mlflow_has_the_same_over_a_kill(typist: Typist) -> None:
    mlflow = pytest.importorskip("mlflow")
    typed = [*TINY, "trainer.max_epochs=2", "logger=mlflow", "output_dir=logged/run"]
    assert typist.train(*typed, kill=["step", 1, 2]).status == -9
    done = typist.train("resume=logged/run")
    assert done.status == 0, done.err
    folder = typist.folder / "logged" / "run"
    client = mlflow.MlflowClient(f"sqlite:///{typist.folder / 'logged' / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("deepcluster").experiment_id])
    assert run.info.status == "FINISHED" and run.info.run_name == "run"
    assert run.data.params["clustering.k"] == "10"
    for epoch, row in metrics(folder).items():
        for name, value in row.items():
            found = {event.step: event.value for event in client.get_metric_history(run.info.run_id, name)}
            assert len(client.get_metric_history(run.info.run_id, name)) == len(found), f"{name}: a step twice"
            if not name.startswith("time/"):
                assert found[epoch] == pytest.approx(value), name


@pytest.mark.ddp
def test_of_two_processes_one_tells_also_when_they_are_resumed(typist: Typist) -> None:
    two = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    done = typist.train(*TINY, "trainer.max_epochs=1", *two, "logger=wandb", "output_dir=two")
    assert done.status == 0, done.err
    assert done.out.count("clustering K = 10") == 1, "only one process speaks"
    folder = typist.folder / "two"
    (first,) = segments(folder)
    assert [row["_step"] for row in first.history] == [1, 2, 3]
    weights = torch.load(folder / "checkpoints" / "final.ckpt", weights_only=True)
    assert weights["epoch"] == 0
    done = typist.train("resume=two", "trainer.max_epochs=2")
    assert done.status == 0, done.err
    first, second = segments(folder)
    assert first.run.run_id == second.run.run_id and list(metrics(folder)) == [0, 1]
