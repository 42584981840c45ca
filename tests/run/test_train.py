"""The program as a user types it: a whole run, kills and resumes, mistakes, sweeps, a full disk, eval.py, loggers."""

import contextlib
import csv
import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from reference.networks_2018 import alexnet_2018
from support.typed import REPOSITORY, TIMEOUT_S, Finished, Typist, clean_environment

from deepcluster.clustering.history import read_assignments
from deepcluster.system.atomic import locked
from deepcluster.system.tables import read_csv
from deepcluster.weights import checkpoint

pytestmark = pytest.mark.slow

EPOCHS = 3
SIZES = ["method=deepcluster", "data.limit=300", "clustering.k=10", "reduction.dim=16"]
PROBE = ["evaluation.linear_probe.epochs=1", "evaluation.linear_probe.learning_rates=[0.1]"]
SMALL = [*SIZES, *PROBE, f"trainer.max_epochs={EPOCHS}"]
TINY = [*SIZES, "trainer.max_epochs=1", "evaluation.enabled=false"]  # where the result does not matter


@pytest.fixture(scope="module")
def typist(tmp_path_factory: pytest.TempPathFactory) -> Typist:
    return Typist(tmp_path_factory.mktemp("typed"))


@pytest.fixture(scope="module")
def whole(typist: Typist) -> tuple[Path, Finished]:
    """An uninterrupted run without workers, by the real command, and what it printed."""
    command = [sys.executable, str(REPOSITORY / "train.py"), *SMALL, "output_dir=whole"]
    done = subprocess.run(
        command, cwd=typist.folder, env=clean_environment(), capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert done.returncode == 0, done.stderr
    return typist.folder / "whole", Finished(done.returncode, done.stdout, done.stderr)


def assert_refused(done: Finished, *named: str) -> None:
    """One clear error, and no traceback on the terminal."""
    assert done.status == 1, (done.status, done.err)
    assert len(done.errors) == 1, done.err
    assert "Traceback" not in done.err + done.out and "HYDRA_FULL_ERROR" not in done.err
    assert not [name for name in named if name not in done.err], done.err


def assert_no_run(folder: Path) -> None:
    """Nothing there that would block a retry."""
    assert not (folder / "config.yaml").exists()


def rows(folder: Path) -> list[dict[str, str]]:
    """metrics.csv, without what a clock said."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in csv.DictReader(file)]


def results(folder: Path) -> dict[str, Any]:
    """summary.json, without what a clock said."""
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return {name: value for name, value in summary.items() if name != "seconds"}


def assert_same_run(folder: Path, other: Path) -> None:
    """Weights, assignments, metrics and figures, bit for bit."""
    for name in ("last", "final"):
        one, two = (torch.load(f / "checkpoints" / f"{name}.ckpt", weights_only=True) for f in (folder, other))
        assert one["state_dict"].keys() == two["state_dict"].keys()
        different = [k for k, value in one["state_dict"].items() if not torch.equal(value, two["state_dict"][k])]
        assert not different, f"{name}.ckpt"
    history, expected = read_assignments(folder), read_assignments(other)
    assert (history.names, history.epochs, history.samples) == (expected.names, expected.epochs, expected.samples)
    assert np.array_equal(history.labels, expected.labels) and history.objective == expected.objective
    assert rows(folder) == rows(other)
    assert results(folder) == results(other)
    assert (folder / "clusters.csv").read_bytes() == (other / "clusters.csv").read_bytes()


# A whole run -------------------------------------------------------------------------------------------------------


def test_a_run_leaves_its_summary(whole: tuple[Path, Finished]) -> None:
    summary = json.loads((whole[0] / "summary.json").read_text())
    for network in ("trained", "untrained"):
        for figure in ("knn_accuracy", "linear_probe_accuracy", "nmi_labels"):
            assert 0 < summary[network][figure] <= 1, (network, figure)
    assert summary["clusters_used"] == 10 and summary["epochs"] == EPOCHS and summary["n_images"] == 300
    assert summary["drawn"]["perplexity"] == float(rows(whole[0])[-1]["cluster/drawn_perplexity"])
    assert {"features", "reduction", "clustering", "training"} <= summary["seconds"].keys()
    assert all(value >= 0 for value in summary["seconds"].values())


def test_a_run_leaves_one_row_of_metrics_per_epoch(whole: tuple[Path, Finished]) -> None:
    found = rows(whole[0])
    assert [row["epoch"] for row in found] == [str(epoch) for epoch in range(EPOCHS)]
    for name in ("objective", "nmi_previous", "nmi_labels", "ami_labels", "ari_labels", "purity", "clusters_used"):
        assert all(float(row[f"cluster/{name}"]) >= 0 for row in found), name
    for name in ("one_to_one_accuracy", "largest_share", "entropy", "moved_share", "explained_variance"):
        assert all(float(row[f"cluster/{name}"]) >= 0 for row in found), name
    assert all(9.5 < float(row["cluster/drawn_perplexity"]) <= 10 for row in found), "10 clusters about equally"
    assert all(float(row["train/loss"]) > 0 for row in found)
    with (whole[0] / "metrics.csv").open() as file:
        times = [name for name in next(csv.reader(file)) if name.startswith("time/")]
    assert {"time/features_s", "time/reduction_s", "time/clustering_s", "time/training_s"} <= set(times)


def test_a_run_leaves_every_assignment_and_each_images_cluster(whole: tuple[Path, Finished]) -> None:
    history = read_assignments(whole[0])
    assert history.names == ["epoch_00000", "epoch_00001", "epoch_00002", "final"]
    assert history.labels.shape == (4, 300) and history.k == [10] * 4
    with (whole[0] / "clusters.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["sample"]: int(line["cluster"]) for line in lines} == history.of("final")
    assert {line["label"] for line in lines} >= {"Bag", "Coat"}


def test_a_run_leaves_checkpoints_and_its_config(whole: tuple[Path, Finished]) -> None:
    folder = whole[0]
    assert checkpoint.load_checkpoint(folder / "checkpoints" / "last.ckpt").epoch == EPOCHS
    assert checkpoint.load_checkpoint(folder).assignment is not None
    text = (folder / "config.yaml").read_text()
    assert "k: 10" in text and "source: fashion_mnist_mini" in text and "${" not in text and "???" not in text
    assert not [path for path in folder.rglob("*") if path.name.endswith(".part")]


def test_a_run_prints_its_table_and_nothing_for_a_terminal(whole: tuple[Path, Finished]) -> None:
    folder, done = whole
    assert "linear-probe accuracy" in done.out and str(folder) in done.out and f"epoch   3/{EPOCHS}" in done.out
    assert not re.findall(r"[\x00-\x08\x0b-\x1f]", done.out + done.err)
    assert "Warning" not in done.err and "Traceback" not in done.err


def test_the_next_command_that_a_run_names_can_be_typed(whole: tuple[Path, Finished], typist: Typist) -> None:
    named = re.search(r"python \S*train\.py (resume=\S+) trainer\.max_epochs=6", whole[1].out)
    assert named is not None
    copy = shutil.copytree(whole[0], typist.folder / "longer")
    done = typist.train(named[1].replace("/whole", "/longer"), "trainer.max_epochs=4")
    assert done.status == 0, done.err
    assert [row["epoch"] for row in rows(copy)] == ["0", "1", "2", "3"]
    assert rows(copy)[:EPOCHS] == rows(whole[0])


# Killed and resumed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kill", "settings", "saved"),
    [
        # 5 batches an epoch; the checkpoint of mid-epoch stands after batch 2
        (
            ["step", 1, 3],
            ["checkpoint.every_n_steps=2", "reading.num_workers=2", "reading.persistent_workers=true"],
            True,
        ),
        # the clusterings: untrained, again, epoch 0, epoch 1
        (["k-means", 4, 5], ["reading.num_workers=2"], True),
        (["step", 0, 2], [], False),
    ],
    ids=["in mid-epoch, persistent workers", "in a clustering, 2 workers", "before the first checkpoint"],
)
def test_a_killed_and_resumed_run_equals_the_uninterrupted_one(
    kill: list[Any], settings: list[str], saved: bool, typist: Typist, whole: tuple[Path, Finished]
) -> None:
    """The uninterrupted one had no workers, so this also shows that workers change nothing."""
    folder = typist.folder / f"killed_{kill[0]}_{kill[1]}"
    killed = typist.train(*SMALL, *settings, f"output_dir={folder}", kill=kill)
    assert killed.status == -9, killed.err
    assert (folder / "checkpoints" / "last.ckpt").is_file() == saved
    assert not (folder / "summary.json").exists()
    n_clustered = len(list((folder / "assignments").glob("epoch_*.npz")))
    assert n_clustered == (2 if kill == ["step", 1, 3] else 1)
    done = typist.train(f"resume={folder}")
    assert done.status == 0, done.err
    assert ("resuming " in done.out) == saved
    assert_same_run(folder, whole[0])


def test_ctrl_c_says_how_to_go_on(typist: Typist) -> None:
    stopped = typist.train(*TINY, "trainer.max_epochs=2", "output_dir=stopped", kill=["step", 1, 2, "SIGINT"])
    assert stopped.status == 130
    assert f"train.py resume={typist.folder / 'stopped'}" in stopped.err
    assert "Traceback" not in stopped.err and typist.train("resume=stopped").status == 0
    stopped = typist.train(*TINY, "output_dir=stopped_early", kill=["step", 0, 2, "SIGINT"])
    assert stopped.status == 130 and "stopped, before its first checkpoint" in stopped.err


def test_sigterm_is_no_success_and_says_how_to_go_on(typist: Typist) -> None:
    """What a batch system sends when the time is up; Lightning alone would end with status 0."""
    stopped = typist.train(*TINY, "trainer.max_epochs=2", "output_dir=ended", kill=["step", 1, 2, "SIGTERM"])
    assert stopped.status == 143
    assert f"train.py resume={typist.folder / 'ended'}" in stopped.err


# Mistakes ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures(typist: Typist) -> Path:
    """40 grey PNGs of 28 px, a truncated JPEG and a text file with an image's name."""
    folder = typist.folder / "pictures"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for i in range(40):
        Image.fromarray(draw.integers(0, 256, (28, 28), dtype=np.uint8)).save(folder / f"{i:02}.png")
    Image.fromarray(draw.integers(0, 256, (28, 28), dtype=np.uint8)).save(folder / "cut.jpg")
    data = (folder / "cut.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(data[: len(data) // 2])
    (folder / "note.jpg").write_text("not an image")
    return folder


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        (["clustering.kk=3"], ["clustering.kk", "did you mean clustering.k?"]),
        (["clustering.k=ten"], ["clustering.k", "ten", "integer"]),
        (["clustering.k=1"], ["clustering.k must be at least 2, got 1"]),
        (["clustering.k=6000"], ["clustering.k=6000", "5000", "lower clustering.k"]),
        (["reduction.dim=85"], ["reduction.dim=85", "84"]),
        (["data=folder"], ["data.root=VALUE"]),
        (["data=folder", "data.root=nowhere"], ["data.root=nowhere does not exist"]),
        (["data=folder", "data.root=empty"], ["no images under empty"]),
        (["data=parquet", "data.root=empty"], ["empty"]),
        (["data=cifar1"], ["data=cifar1", "cifar10"]),
        (["trainer.accelerator=tpuu"], ["tpuu"]),
        (["trainer.devices=many"], ["devices"]),
        (["trainer.precision=float"], ["float", "32-true"]),
        (["arch.channels=[1,2,3]"], ["arch.channels", "[1, 2, 3]"]),
        (["arch=alexnet"], ["view.size=32 is too small", "set view.size=63 or more"]),
        (["arch=resnet18", "arch.tap=fc"], ["arch.tap=fc", "layer1, layer2, layer3, layer4"]),
        (["init=checkpoint", "init.path=nowhere"], ["no checkpoint at nowhere"]),
        (["+x=1"], ["there is no key x"]),
    ],
    ids=lambda value: " ".join(value) if "=" in value[0] else "",
)
def test_a_mistake_is_one_line_and_leaves_no_run(typed: list[str], named: list[str], typist: Typist) -> None:
    (typist.folder / "empty").mkdir(exist_ok=True)
    done = typist.train("method=deepcluster", *typed, "output_dir=mistake")
    assert_refused(done, *named)
    assert_no_run(typist.folder / "mistake")
    assert "measuring" not in done.out  # nothing long was begun


def test_a_run_that_is_not_there_cannot_be_resumed(typist: Typist) -> None:
    assert_refused(typist.train("resume=nowhere"), "resume=nowhere", "no run there")
    assert not (typist.folder / "nowhere").exists()


def test_a_run_is_not_written_over(typist: Typist, whole: tuple[Path, Finished]) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole[0].rglob("*")}
    assert_refused(typist.train(*TINY, "output_dir=whole"), "already holds a run", "resume=whole")
    assert_refused(typist.train("resume=whole", "clustering.k=5"), "clustering.k=5 cannot change")
    assert before == {path: path.stat().st_mtime_ns for path in whole[0].rglob("*") if path in before}


def test_a_run_that_is_going_on_is_not_joined(typist: Typist, whole: tuple[Path, Finished]) -> None:
    with locked(whole[0]):
        assert_refused(typist.train("resume=whole"), "another process is running in")


def test_broken_images_are_named_or_left_out_by_choice(typist: Typist, pictures: Path) -> None:
    settings = [*TINY, "data=folder", f"data.root={pictures}", "clustering.k=4", "reduction.dim=8", "view.size=16"]
    refused = typist.train(*settings, "output_dir=broken")
    assert_refused(refused, "cut.jpg", "note.jpg", "reading.on_broken=skip")
    assert_no_run(typist.folder / "broken")
    done = typist.train(*settings, "output_dir=broken", "reading.on_broken=skip")  # the same folder
    assert done.status == 0, done.err
    assert "cut.jpg" in done.out and "note.jpg" in done.out
    assert results(typist.folder / "broken")["n_images"] == 40


def test_arrays_of_five_channels_are_learned_from_and_measured(typist: Typist) -> None:
    """Two kinds that differ only in their fifth channel; 8 and 16 bit."""
    draw = np.random.default_rng(0)
    for i in range(60):
        array = draw.integers(0, 128, (20, 24, 5), dtype=np.uint8)
        array[..., 4] += 127 * (i % 2)
        path = typist.folder / "bands" / ("train" if i < 40 else "test") / "ab"[i % 2] / f"{i:02}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array if i % 3 else array.astype(np.uint16) * 257)
    jitter = "view.color_jitter=[0.1,0.1,0.1,0.1]"
    settings = ["data=folder", "data.root=bands", "view.size=16", "arch=lenet5", "reading.batch_size=8", jitter]
    run = ["clustering.k=4", "reduction.dim=8", "trainer.max_epochs=2", *PROBE]
    done = typist.train(*settings, *run, "output_dir=bands_run")
    assert done.status == 0, done.err
    assert "5x16x16" in done.out
    last = torch.load(typist.folder / "bands_run" / "checkpoints" / "last.ckpt", weights_only=True)
    first = next(value for name, value in last["state_dict"].items() if name.startswith("backbone.features"))
    assert first.shape == (6, 5, 5, 5)
    summary = results(typist.folder / "bands_run")
    assert summary["n_images"] == 40 and 0 < summary["trained"]["linear_probe_accuracy"] <= 1
    new = ["evaluation=assign", "data=folder", "data.root=bands", "output_dir=bands_assigned"]
    done = typist.eval("ckpt=bands_run", *new)
    assert done.status == 0, done.err
    refused = typist.train(*settings, *run, "view.mean=[0.5]", "view.std=[0.2]", "output_dir=bands_wrong")
    assert_refused(refused, "view.mean and view.std have 1 values", "5 channels")
    assert_no_run(typist.folder / "bands_wrong")


# Sweeps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        (["clustering.k=10,abc"], ["clustering.k=abc", "integer"]),
        (["clustering.k=10,1"], ["clustering.k=1", "at least 2"]),
        (["clustering.k=10,20", "reduction.dmi=8"], ["reduction.dmi", "reduction.dim?"]),
        (["clustering.k=10,20", "resume=whole"], ["resume="]),
    ],
    ids=lambda value: " ".join(value) if "=" in value[0] else "",
)
def test_a_sweep_with_one_mistake_starts_no_job(typed: list[str], named: list[str], typist: Typist) -> None:
    done = typist.train("-m", *TINY, "output_dir=bad_sweep", *typed)
    assert_refused(done, *named)
    assert not (typist.folder / "bad_sweep").exists() and "images" not in done.out


def test_a_sweep_runs_every_job_also_after_one_that_the_data_refuse(typist: Typist) -> None:
    done = typist.train("-m", *TINY, "clustering.k=4,400,5", "output_dir=sweep")
    assert done.status == 1 and "Traceback" not in done.err
    assert "clustering.k=400 needs at least that many images" in done.err
    *_, failed, told, _, go_on = done.out.splitlines()  # NMI is drawn also where accuracies are not measured
    assert failed.startswith("failed     job 1 (clustering.k=400): clustering.k=400 needs") and "2 of 3 jobs" in told
    assert "output_dir=" in go_on
    with (typist.folder / "sweep" / "results.csv").open(newline="") as file:
        assert [(job["clustering.k"], job["trained/clusters_used"][:1]) for job in csv.DictReader(file)] == [
            ("4", "4"),
            ("5", "5"),
            ("400", ""),
        ]
    finished = sorted((typist.folder / "sweep").glob("*/summary.json"))
    assert [results(path.parent)["k"] for path in finished] == [4, 5]
    assert "clustering.k-4" in finished[0].parent.name
    assert typist.eval(f"ckpt={finished[0].parent}", "evaluation=assign").status == 0  # the name can be typed


def test_a_sweep_of_evaluations_ends_in_one_table_also_after_one_that_fails(
    typist: Typist, whole: tuple[Path, Finished]
) -> None:
    damaged = typist.folder / "damaged.ckpt"
    damaged.write_bytes((whole[0] / "checkpoints" / "final.ckpt").read_bytes()[:50_000])
    done = typist.eval("ckpt=whole,damaged.ckpt", "-m", "evaluation=assign,export", "output_dir=measures")
    assert done.status == 1 and "Traceback" not in done.err
    stored = json.loads((typist.folder / "measures" / "results.json").read_text())
    assert [(job["evaluation"], bool(job["numbers"])) for job in stored] == [
        ("assign", True),
        ("export", True),
        ("assign", False),
        ("export", False),
    ]
    assert "damaged" in stored[2]["error"] and stored[0]["numbers"]["clusters_used"] == 10
    for line in ("evaluation=assign", "clusters_used", "evaluation=export", "failed     job 3 (", "2 of 4 jobs done"):
        assert line in done.out, line


def test_a_sweep_that_is_started_again_repeats_no_finished_job(typist: Typist) -> None:
    long = [f"+trainer.{name}=null" for name in ("min_epochs", "max_time", "min_steps", "limit_train_batches")]
    sweep = ["-m", *TINY, "seed=1,2", "output_dir=twice", *long]  # a folder's name holds only some of it
    assert typist.train(*sweep).status == 0
    before = {path: path.stat().st_mtime_ns for path in typist.folder.glob("twice/*/summary.json")}
    again = typist.train(*sweep)
    assert again.status == 0 and "2 of 2 jobs are done there" in again.out and len(before) == 2
    assert before == {path: path.stat().st_mtime_ns for path in typist.folder.glob("twice/*/summary.json")}


# A full disk -------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB: room for one checkpoint of 2 MB, not for two."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_loses_no_checkpoint(typist: Typist, small_disk: Path, whole: tuple[Path, Finished]) -> None:
    folder = small_disk / "run"
    assert_refused(typist.train(*SMALL, f"output_dir={folder}"), "are free in", "choose another output_dir")  # foreseen
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    last, filler = folder / "checkpoints" / "last.ckpt", small_disk / "filler"

    def fill() -> None:
        while not last.is_file():
            time.sleep(0.01)
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    filling = threading.Thread(target=fill, daemon=True)
    filling.start()
    done = typist.train(*SMALL, f"output_dir={folder}")
    assert_refused(done, "No space left on device", f"resume={folder}")
    filling.join()
    assert checkpoint.load_checkpoint(last).epoch >= 1
    assert not list(folder.rglob("*.part"))
    filler.unlink()
    done = typist.train(f"resume={folder}")
    assert done.status == 0, done.err
    assert_same_run(folder, whole[0])


# Checkpoints that are not this run's -------------------------------------------------------------------------------


class Code:
    """What must not run when a checkpoint is read."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return (Path.touch, (self.file,))


def spoil(path: Path, how: str) -> None:
    content = torch.load(path, weights_only=True)
    if how == "another architecture":
        content["deepcluster"]["arch"]["channels"] = [6, 16]
    elif how == "another number of clusters":
        (state,) = [state for state in content["callbacks"].values() if "assignment" in state]
        state["assignment"].update(k=11, centroids=torch.zeros(11, 16))
        state["assignment"]["labels"][0] = 10
    elif how == "other images":
        (state,) = [state for state in content["callbacks"].values() if "assignment" in state]
        state["assignment"]["labels"] = state["assignment"]["labels"].repeat(2)
    elif how == "code":
        content["epoch"] = Code(path.parent / "code_ran")
    elif how == "another program's":
        content = {"state_dict": content["state_dict"]}
    torch.save(content, path)
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:100_000])
    elif how == "no checkpoint":
        path.write_text("hello")


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ("another architecture", ["arch", "[6, 16]", "[24, 64]"]),
        ("another number of clusters", ["11 clusters", "clustering.k=10"]),
        ("other images", ["600 images", "300"]),
        ("truncated", ["cut short or damaged"]),
        ("code", ["more than tensors", "not loaded"]),
        ("another program's", ["not a checkpoint of deepcluster"]),
        ("no checkpoint", ["last.ckpt"]),
    ],
)
def test_a_strange_checkpoint_is_refused(
    how: str, named: list[str], typist: Typist, whole: tuple[Path, Finished]
) -> None:
    folder = typist.folder / "strange"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole[0], folder, ignore=shutil.ignore_patterns("final.ckpt"))
    last = folder / "checkpoints" / "last.ckpt"
    (last.parent / "previous.ckpt").unlink()  # which is used else: tests/run/test_checkpoint_choice.py
    spoil(last, how)
    assert_refused(typist.train("resume=strange", "trainer.max_epochs=4"), *named)
    assert not (last.parent / "code_ran").exists()


# eval.py -----------------------------------------------------------------------------------------------------------


def test_eval_measures_what_the_run_measured(typist: Typist, whole: tuple[Path, Finished]) -> None:
    done = typist.eval("ckpt=whole", *PROBE, "output_dir=measured")
    assert done.status == 0, done.err
    found = json.loads((typist.folder / "measured" / "results.json").read_text())
    trained = results(whole[0])["trained"]
    assert found["knn_accuracy"] == trained["knn_accuracy"]
    assert found["linear_probe_accuracy"] == trained["linear_probe_accuracy"]


def test_eval_gives_the_runs_own_images_their_clusters_again(typist: Typist, whole: tuple[Path, Finished]) -> None:
    done = typist.eval("ckpt=whole", "evaluation=assign", "output_dir=again")
    assert done.status == 0, done.err
    again, own = (list(read_csv(folder / "clusters.csv")) for folder in (typist.folder / "again", whole[0]))
    assert [{name: row[name] for name in own[0]} for row in again] == own


@pytest.mark.usefixtures("whole")
def test_eval_assigns_new_images(typist: Typist, pictures: Path) -> None:
    new = ["ckpt=whole", "evaluation=assign", "data=folder", f"data.root={pictures}", "output_dir=assigned"]
    assert_refused(typist.eval(*new), "cut.jpg", "reading.on_broken=skip")
    done = typist.eval(*new, "reading.on_broken=skip")
    assert done.status == 0, done.err
    with (typist.folder / "assigned" / "clusters.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["sample"] for line in lines] == [f"{i:02}.png" for i in range(40)]
    assert all(0 <= int(line["cluster"]) < 10 for line in lines)


def test_a_run_is_exported_and_its_export_measured_and_started_from(
    typist: Typist, whole: tuple[Path, Finished]
) -> None:
    pytest.importorskip("safetensors")
    done = typist.eval("ckpt=whole", "evaluation=export", "output_dir=exported")
    assert done.status == 0, done.err
    data = ["data=fashion_mnist_mini", "data.limit=300"]
    done = typist.eval("ckpt=exported", *data, *PROBE, "output_dir=exported_measured")
    assert done.status == 0, done.err
    found = json.loads((typist.folder / "exported_measured" / "results.json").read_text())
    assert found["knn_accuracy"] == results(whole[0])["trained"]["knn_accuracy"] and found["epochs"] == EPOCHS
    done = typist.train(*TINY, "init=weights", "init.path=exported", "output_dir=started")
    assert done.status == 0, done.err
    assert "exported backbone, 18 tensors taken" in done.out


@pytest.mark.usefixtures("whole")
def test_a_2018_file_is_measured_by_its_own_architecture(typist: Typist) -> None:
    for i in range(60):
        folder = typist.folder / "colours" / f"class_{i % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 20, 3), 60 * (i % 2) + i, dtype=np.uint8)).save(folder / f"{i}.png")
    colours = ["data=folder", "data.root=colours"]
    torch.manual_seed(0)
    network = alexnet_2018(sobel=True, out=5, channels=(8, 8, 8, 8, 8), hidden=16)
    file = {"epoch": 3, "arch": "alexnet", "state_dict": network.state_dict()}
    torch.save(file, typist.folder / "old.pth.tar", _use_new_zipfile_serialization=False)
    done = typist.eval("ckpt=old.pth.tar", *colours, *PROBE, "output_dir=old")
    assert done.status == 0, done.err
    found = json.loads((typist.folder / "old" / "results.json").read_text())
    assert found["epochs"] == 3 and found["n_images"] == 60 and 0 <= found["knn_accuracy"] <= 1
    assert_refused(typist.eval("ckpt=old.pth.tar"), "old.pth.tar", "say data=... as well")
    assert_refused(typist.eval("ckpt=old.pth.tar", "evaluation=assign", *colours), "holds no clusters", "2018")
    official = ["ckpt=old.pth.tar", "evaluation=export", "evaluation.formats=[official]"]
    assert_refused(typist.eval(*official), "hidden=4096", "16")


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ([], ["ckpt"]),
        (["ckpt=nowhere"], ["no checkpoint at nowhere"]),
        (["ckpt=whole", "evaluation=measure"], ["evaluation=measure", "representation"]),
        (["ckpt=whole", "evaluation.kk=1"], ["evaluation.kk"]),
        (["ckpt=whole", "data=folder", "data.root=nowhere"], ["data.root=nowhere does not exist"]),
        (["ckpt=whole", "data.source=folder", "data.root=nowhere"], ["data.root=nowhere does not exist"]),
        (["ckpt=whole", "data.limt=9"], ["data.limt", "data.limit?"]),
        (["ckpt=whole", "arch.name=x"], ["arch.name", "choose it too, as in arch=OPTION"]),
        (["ckpt=whole", "evaluation.knn.k=3000"], ["evaluation.knn.k=3000"]),
        (["ckpt=whole", "output_dir=whole"], ["error: output_dir=whole already holds a run"]),
    ],
    ids=lambda value: " ".join(value) if value and "=" in value[0] else "",
)
@pytest.mark.usefixtures("whole")
def test_a_mistake_in_eval_is_one_line(typed: list[str], named: list[str], typist: Typist) -> None:
    assert_refused(typist.eval(*typed), *named)


# Loggers and terminals ---------------------------------------------------------------------------------------------


def test_tensorboard_shows_what_metrics_csv_holds(typist: Typist) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    done = typist.train(*TINY, "logger=tensorboard", "output_dir=board")
    assert done.status == 0, done.err
    events = accumulator.EventAccumulator(str(typist.folder / "board" / "tensorboard"))
    events.Reload()
    (row,) = rows(typist.folder / "board")
    for name in ("cluster/objective", "train/loss"):
        assert [event.value for event in events.Scalars(name)] == [pytest.approx(float(row[name]), rel=1e-5)]


def test_a_terminal_shows_bars(typist: Typist) -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    seen: list[bytes] = []

    def watch() -> None:
        while chunk := os.read(master, 4096):
            seen.append(chunk)
            if b"compare K" in chunk:
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    done = typist.train(*TINY, "output_dir=bars", terminal=os.ttyname(slave))
    watcher.join(timeout=30)
    os.close(slave)
    text = b"".join(seen).decode(errors="replace")
    assert done.status == 0, text
    for phase in ("epoch 0: features", "epoch 0: kmeans", "Epoch 0:"):
        assert re.search(rf"\r{phase}.*it/s|\r{phase}.*img/s", text), phase
