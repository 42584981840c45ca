"""Weights & Biases without a network, by reading back what it wrote."""

import base64
import contextlib
import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from support.offline_run import OfflineRun
from wandb.sdk.mailbox.mailbox_handle import HandleAbandonedError

from deepcluster.tracking.settings import WandbSettings
from deepcluster.tracking.tracked_run import TrackedRun, read_logged
from deepcluster.tracking.tracker import Row, Table, Tracker

CONFIG = {"clustering": {"kind": "kmeans", "k": 5}, "tags": [1, 2], "seed": 1}
SIZES = torch.tensor([1, 2, 2, 3, 5, 6, 9, 10, 10])


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = ("API_KEY", "MODE", "BASE_URL", "PROJECT", "NAME", "RUN_GROUP", "TAGS", "DIR", "RUN_ID", "JOB_TYPE")
    for name in (f"WANDB_{name}" for name in names):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))


def opened(folder: Path, said: list[str] | None = None, **settings: Any) -> Tracker:
    logger = WandbSettings(**settings).named("by folder", None)
    tracker = logger.open(TrackedRun(folder=folder, config=CONFIG, say=[].append if said is None else said.append))
    assert tracker is not None
    return tracker


def segments(folder: Path) -> list[OfflineRun]:
    return [OfflineRun(found) for found in sorted(folder.glob("wandb/offline-run-*"))]


def children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def test_what_is_written_can_be_read_back(tmp_path: Path) -> None:
    said: list[str] = []
    tracker = opened(tmp_path, said, project="mine", group="sweep", tags=["night"])
    picture = Image.new("RGB", (30, 20), (200, 10, 10))
    table = Table(columns=["", "untrained", "trained"], rows=[["k-NN", 0.5, 0.75], ["NMI", None, 1]])
    tracker.log_row(Row(epoch=0, step=1, numbers={"cluster/k": 9.0}, sizes=SIZES, picture=picture))
    tracker.log_row(Row(epoch=0, step=2, numbers={"train/loss": 1.5}))
    tracker.log_row(Row(epoch=1, step=3, tables={"figures": table}))
    (tmp_path / "final.npz").write_bytes(b"clusters")
    tracker.log_files("assignment", "final", [tmp_path / "final.npz"])
    tracker.log_summary({"final/knn_accuracy": 0.75}, 1)
    tracker.close("finished")
    (run,) = segments(tmp_path)

    assert (run.run.project, run.run.run_group, list(run.run.tags)) == ("mine", "sweep", ["night"])
    assert (run.run.display_name, run.run.job_type) == ("by folder", "train")
    assert {name: run.config[name] for name in CONFIG} == CONFIG  # nested, as it is filtered by
    assert f"wandb sync {tmp_path}/wandb/offline-run-*" in said[0] and "no WANDB_API_KEY" in said[0]

    first, second, third = run.history
    assert [(row["_step"], row["epoch"]) for row in run.history] == [(1, 0), (2, 0), (3, 1)]
    assert first["cluster/k"] == 9.0 and second["train/loss"] == 1.5
    axes = {metric.glob_name: metric.step_metric for metric in run.of("metric") if metric.glob_name}
    assert axes == {"*": "epoch"}

    assert first["cluster/sizes"]["values"] == [3, 1, 2, 0, 3]
    assert first["cluster/sizes"]["bins"] == [0.5, 2.5, 4.5, 6.5, 8.5, 10.5]
    file = run.folder / "files" / first["clusters"]["path"]
    with Image.open(file) as written:
        assert written.size == (30, 20) and written.getpixel((5, 5)) == (200, 10, 10)
    assert first["clusters"]["path"] in [entry.path for files in run.of("files") for entry in files.files]

    content = json.loads((run.folder / "files" / third["table/figures"]["path"]).read_text())
    assert (content["columns"], content["data"]) == (table.columns, table.rows)

    (artifact,) = [found for found in run.of("artifact") if found.type == "assignment"]
    (entry,) = artifact.manifest.contents
    assert entry.path == "final.npz" and entry.digest == base64.b64encode(hashlib.md5(b"clusters").digest()).decode()
    assert entry.local_path == str(tmp_path / "final.npz"), "not a copy elsewhere"
    assert artifact.name == f"assignment-{run.run.run_id}" and {"latest", "final"} <= set(artifact.aliases)

    assert run.summary["final/knn_accuracy"] == 0.75 and run.of("exit")[0].exit_code == 0


def test_the_same_folder_is_the_same_run(tmp_path: Path) -> None:
    for step in (1, 2):
        tracker = opened(tmp_path)
        tracker.log_row(Row(epoch=0, step=step, numbers={"x": 1.0}))
        tracker.close("stopped")
    first, second = segments(tmp_path)
    assert first.run.run_id == second.run.run_id == read_logged(tmp_path, "wandb")["id"]
    assert second.run.resume, "what joins the two at wandb sync"
    assert [[row["_step"] for row in run.history] for run in (first, second)] == [[1], [2]]
    assert second.of("exit")[0].exit_code == 130


@pytest.mark.parametrize(
    ("environment", "settings", "offline"),
    [
        ({}, {}, True),
        ({"WANDB_API_KEY": ""}, {}, True),  # as .env.example leaves it
        ({"WANDB_API_KEY": "k"}, {}, False),
        ({"WANDB_API_KEY": "k"}, {"offline": True}, True),
        ({"WANDB_API_KEY": "k", "WANDB_MODE": "offline"}, {}, True),
        ({"WANDB_API_KEY": "k", "WANDB_MODE": "offline"}, {"offline": False}, False),
        ({"WANDB_MODE": "offline"}, {"offline": None}, True),
    ],
    ids=str,
)
def test_a_key_decides_unless_the_user_does(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], settings: dict[str, Any], offline: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (WandbSettings(**settings).mode() == "offline") == offline
    WandbSettings(**settings).check()


def test_online_without_a_key_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"logger\.offline=false.*WANDB_API_KEY.*\.env.*wandb login"):
        WandbSettings(offline=False).check()
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(ValueError, match="WANDB_MODE"):
        WandbSettings().check()
    netrc = tmp_path / "netrc"  # what wandb login writes
    netrc.write_text("machine api.wandb.ai\n  login user\n  password 0123456789\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    WandbSettings(offline=False).check()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the process in /proc")
def test_its_own_process_may_die(tmp_path: Path) -> None:
    """The adapter raises, which the run's record passes over; the next job of a sweep begins a new process."""
    tracker = opened(tmp_path / "0")
    cores = [pid for pid in children(os.getpid()) if "wandb-core" in Path(f"/proc/{pid}/comm").read_text()]
    assert cores
    for core in cores:
        os.kill(core, signal.SIGKILL)
    with pytest.raises((ConnectionError, HandleAbandonedError)):  # as the request stood
        for step in range(1, 50):
            tracker.log_row(Row(epoch=0, step=step, numbers={"x": 1.0}))
    with pytest.raises((ConnectionError, HandleAbandonedError)):  # as the request stood
        tracker.close("finished")
    tracker = opened(tmp_path / "1")
    tracker.log_row(Row(epoch=0, step=1, numbers={"x": 1.0}))
    tracker.close("finished")
    (run,) = segments(tmp_path / "1")
    assert [row["x"] for row in run.history] == [1.0]


def test_the_variables_of_wandb_stand_in_for_keys_that_are_not_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    variables = {"PROJECT": "theirs", "NAME": "night", "RUN_GROUP": "grp", "TAGS": "a, b", "NOTES": "why"}
    variables |= {"RUN_ID": "abc", "JOB_TYPE": "pretrain", "DIR": str(tmp_path / "elsewhere")}
    for name, value in variables.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    (tmp_path / "run").mkdir()
    opened(tmp_path / "run").close("finished")
    run = segments(tmp_path / "elsewhere")[0].run
    assert (run.project, run.display_name, run.run_group) == ("theirs", "night", "grp")
    assert (list(run.tags), run.notes, run.run_id, run.job_type) == (["a", "b"], "why", "abc", "pretrain")
    keys = WandbSettings(project="mine", name="day", group="own", tags=["c"]).named("by folder", None)
    assert (keys.project, keys.name, keys.group, keys.tags) == ("mine", "day", "own", ["c"])


def test_disabled_wandb_keeps_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    said: list[str] = []
    tracker = opened(tmp_path, said)
    tracker.log_row(Row(epoch=0, step=1, numbers={"cluster/k": 9.0}, sizes=SIZES))
    tracker.close("finished")
    assert said == ["wandb      disabled by WANDB_MODE: nothing is kept"] and not list(tmp_path.glob("wandb/*run*"))
