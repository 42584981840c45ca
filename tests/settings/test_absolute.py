"""A stored run is found from any folder."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from support.configs import CONFIGS

from deepcluster.app.hydra_setup import register_for_jobs
from deepcluster.app.sweep.same_job import identity
from deepcluster.settings.absolute import PATHS, with_absolute_paths
from deepcluster.settings.resume import what_is_learned
from deepcluster.settings.stored import read_stored_config, write_config
from deepcluster.settings.train import TrainConfig, train_config


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def composed(*words: str) -> TrainConfig:
    from hydra import compose, initialize_config_dir

    register_for_jobs()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return train_config(compose("train", list(words)))


RELATIVE = (
    "data=folder",
    "data.root=d",
    "reading.cache_dir=c",
    "extraction.scratch=s",
    "init=checkpoint",
    "init.path=w.ckpt",
    "other_rows=file",
    "other_rows.path=r.npy",
    "other_rows.names=n.txt",
    "follows=f",
)


def test_the_paths_of_a_run_are_those_of_its_groups_options() -> None:
    assert set(PATHS) == {word.partition("=")[0] for word in RELATIVE if "." in word} | {"follows"}


def test_a_stored_run_names_its_files_from_any_folder(tmp_path: Path) -> None:
    write_config(composed(*RELATIVE), tmp_path / "run")
    stored = read_stored_config(tmp_path / "run" / "config.yaml")
    typed = dict(word.split("=") for word in RELATIVE)
    assert {key: OmegaConf.select(stored, key) for key in PATHS} == {key: str(tmp_path / typed[key]) for key in PATHS}


def test_a_stored_job_of_a_sweep_is_the_one_that_was_typed(tmp_path: Path) -> None:
    typed = composed(*RELATIVE)
    write_config(typed, tmp_path / "run")
    assert identity(read_stored_config(tmp_path / "run" / "config.yaml")) == identity(OmegaConf.structured(typed))
    assert identity(OmegaConf.structured(composed(*RELATIVE, "data.root=e"))) != identity(OmegaConf.structured(typed))


def test_a_checkpoint_of_relative_paths_fits_its_absolute_run(tmp_path: Path) -> None:
    typed = composed(*RELATIVE)
    write_config(typed, tmp_path / "run")
    stored = OmegaConf.to_object(read_stored_config(tmp_path / "run" / "config.yaml"))
    assert isinstance(stored, TrainConfig) and what_is_learned(stored) == what_is_learned(typed)


@pytest.mark.parametrize(
    ("key", "value"),
    [("data.root", "s3://bucket/d"), ("reading.cache_dir", "none"), ("data.root", None), ("data.root", "/d/../e")],
)
def test_what_is_no_relative_path_stays(key: str, value: str | None) -> None:
    group, name = key.split(".")
    assert with_absolute_paths(OmegaConf.create({group: {name: value}}))[group][name] == value


def test_a_folder_that_only_looks_like_a_users_home_is_one_here(tmp_path: Path) -> None:
    found = with_absolute_paths(OmegaConf.create({"data": {"root": "~nobody-of-this-name/d"}}))
    assert found.data.root == str(tmp_path / "~nobody-of-this-name" / "d")
