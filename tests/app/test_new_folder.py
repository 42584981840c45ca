"""Whose folder is whose: two runs of one second, refusals, Hydra's own keys for folders."""

import contextlib
import multiprocessing
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from support.configs import CONFIGS

from deepcluster.app.errors import ERROR_LOG
from deepcluster.app.hydra_setup import register_for_jobs
from deepcluster.app.run_failure import report_failure
from deepcluster.app.sweep import check
from deepcluster.app.sweep.check import CheckConfig, take_new_folder
from deepcluster.settings.run_folder import make_folder, remove_unused
from deepcluster.settings.train import TrainConfig
from deepcluster.system.atomic import locked


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def composed(*words: str, name: str = "train") -> DictConfig:
    register_for_jobs()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(name, [*words, f"hydra.job.config_name={name}"], return_hydra_config=True)


def test_a_folder_is_made_once_and_the_next_one_has_another_name() -> None:
    assert [make_folder("runs/a") for _ in range(3)] == ["runs/a", "runs/a_2", "runs/a_3"]


@pytest.mark.parametrize("mode", ["run", "sweep"])
def test_two_starts_of_one_second_have_two_folders(mode: str) -> None:
    configs = [composed(), composed()]
    for config in configs:
        config.hydra[mode].dir = "${run_folder:null,null,runs/2026-01-01}"
        assert take_new_folder(config, mode)
    assert [config.hydra[mode].dir for config in configs] == ["runs/2026-01-01", "runs/2026-01-01_2"]
    # Hydra composes each job of a sweep anew, from these words
    assert ("hydra.sweep.dir=runs/2026-01-01_2" in configs[1].hydra.overrides.hydra) == (mode == "sweep")


def test_a_folder_that_the_user_has_named_is_taken_as_it_is() -> None:
    assert not take_new_folder(composed("output_dir=mine"), "run")
    assert not take_new_folder(composed("hydra.run.dir=mine"), "run")
    assert not Path("mine").exists()


def test_only_an_own_folder_without_work_is_removed() -> None:
    refused, begun, others = Path(make_folder("runs/a")), Path(make_folder("runs/b")), Path("mine")
    others.mkdir()
    for folder in (refused, begun, others):
        (folder / ".hydra").mkdir()
    (begun / "config.yaml").touch()
    assert [remove_unused(folder) for folder in (refused, begun, others)] == [True, False, False]
    assert [folder.exists() for folder in (refused, begun, others)] == [False, True, True]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hydra.job.chdir=true"], "hydra.job.chdir=true: paths are meant from the folder"),
        (["hydra.run.dir=old"], "already holds a run"),
        (["hydra.run.dir="], "hydra.run.dir is empty"),
        (["resume=old", "hydra.run.dir=new"], "goes on in that run's own folder"),
    ],
)
def test_hydras_keys_are_refused_before_hydra_writes(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "_settings", lambda *_: TrainConfig())
    Path("old").mkdir()
    Path("old/config.yaml").touch()
    config = composed(*words)
    with pytest.raises(SystemExit):
        CheckConfig().on_run_start(config)
    assert said in capsys.readouterr().err
    assert not Path("new").exists() and not Path("runs").exists()


@pytest.mark.parametrize(("folder", "refused"), [("d", True), ("d/cat", True), ("d/new", False), ("d/run", False)])
def test_results_among_photographs_are_refused_before_hydra_writes(
    folder: str, refused: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("d/cat/1.jpg", "d/dog/2.jpg", "d/run/eval.log", "d/run/clusters.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    config = composed("data=folder", "data.root=d", f"output_dir={folder}")
    config.hydra.overrides.task.extend(["data=folder", "data.root=d", f"output_dir={folder}"])
    with pytest.raises(SystemExit) if refused else contextlib.nullcontext():
        CheckConfig().on_run_start(config)
    said = f"output_dir={folder} holds the photographs of data.root=d"
    assert (said in capsys.readouterr().err) == refused


def test_a_folder_in_which_another_process_runs_is_refused_before_hydra_writes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(check, "_settings", lambda *_: TrainConfig())
    config = composed("output_dir=busy")
    with locked(Path("busy")):
        second = multiprocessing.get_context("fork").Process(target=_start, args=(config,))
        second.start()
        second.join()
    assert "another process is running in busy" in Path("printed").read_text() and second.exitcode == 1


def _start(config: DictConfig) -> None:
    with open("printed", "w") as file, contextlib.redirect_stderr(file):
        CheckConfig().on_run_start(config)


def test_a_success_takes_the_error_of_an_earlier_start_away() -> None:
    folder = Path("mine")
    folder.mkdir()
    with pytest.raises(SystemExit), report_failure(folder, "train", str):
        raise ValueError("no")
    assert (folder / ERROR_LOG).is_file()
    with report_failure(folder, "train", str):
        pass
    assert not (folder / ERROR_LOG).exists()


def test_a_refusal_in_a_new_folder_leaves_no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(make_folder("runs/a"))
    with pytest.raises(SystemExit), report_failure(folder, "train", str):
        raise ValueError("there is no such image")
    assert not folder.exists() and capsys.readouterr().err == "\nerror: there is no such image\n"
