"""Which folder of a sweep is whose: a job is its settings, however it was typed."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from support.configs import CONFIGS

from deepcluster.app.hydra_setup import register
from deepcluster.app.sweep.check import check_all_differ
from deepcluster.app.sweep.jobs import JOB_FILE, Job, write_job
from deepcluster.app.sweep.same_job import find_job_folder, identity, is_finished, job_folder
from deepcluster.settings.stored import write_config
from deepcluster.settings.train import TrainConfig, train_config


@pytest.fixture(autouse=True)
def hydra() -> Iterator[None]:
    register()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        yield


def settings(*typed: str) -> TrainConfig:
    return train_config(compose("train", overrides=list(typed)))


def hashed(*typed: str) -> str:
    return identity(OmegaConf.structured(settings(*typed)))


def a_run(sweep: Path, name: str, *typed: str, done: bool = True) -> Path:
    """A job's folder as a run leaves it."""
    folder = sweep / name
    folder.mkdir(parents=True)
    write_config(settings(*typed), folder)
    write_job(Job(number=0, folder=str(folder), overrides={}, ended=done))
    if done:
        (folder / "summary.json").write_text('{"epochs": 20}')
    return folder


def test_a_stored_run_is_known_by_its_settings_however_they_are_typed(tmp_path: Path) -> None:
    folder = a_run(tmp_path, "0_clustering.k-30", "clustering.k=30")
    assert find_job_folder(tmp_path, settings("clustering.k=30", "seed=1", "reduction=pca_whiten")) == folder
    stop = "+callbacks.stop={_target_:pytorch_lightning.callbacks.EarlyStopping,monitor:train/loss}"
    others = ("clustering.k=31", "seed=2", "trainer.max_epochs=21", "data.root=elsewhere", "evaluation.knn.k=3", stop)
    for other in others:
        assert find_job_folder(tmp_path, settings("clustering.k=30", other)) is None, other


@pytest.mark.parametrize(
    "typed",
    [
        "logger=tensorboard",
        "reading.num_workers=3",
        "reading.timeout_s=9",
        "trainer=cpu",
        "output_dir=a",
        "objective=nmi_labels",
        "estimate=true",
        "extraction.memory_gb=1",
    ],
)
def test_where_and_how_it_is_computed_makes_no_other_job(typed: str) -> None:
    assert hashed(typed) == hashed()


def test_a_new_job_does_not_get_a_folder_that_is_taken(tmp_path: Path) -> None:
    a_run(tmp_path, "1_seed-1", "data.limit=100")
    cfg = compose("train", overrides=["data.limit=200"], return_hydra_config=True)
    assert job_folder(str(tmp_path), "1_seed-1", _root_=cfg) == "1_seed-1_2"
    cfg = compose("train", overrides=["data.limit=100"], return_hydra_config=True)
    assert job_folder(str(tmp_path), "7_limit-100", _root_=cfg) == "1_seed-1"  # its own


def test_a_job_that_never_became_a_run_gets_its_folder_again(tmp_path: Path) -> None:
    refused = Job(number=3, folder=str(tmp_path / "3_k"), overrides={}, error="no", settings=hashed("clustering.k=99"))
    write_job(refused)
    assert find_job_folder(tmp_path, settings("clustering.k=99")) == tmp_path / "3_k"
    assert not is_finished(tmp_path / "3_k", settings("clustering.k=99"))


def test_a_run_that_went_on_beyond_its_end_is_not_finished_by_its_first_summary(tmp_path: Path) -> None:
    folder = a_run(tmp_path, "0", "trainer.max_epochs=20")
    assert is_finished(folder, settings("trainer.max_epochs=20"))
    longer = settings("trainer.max_epochs=40")
    write_config(longer, folder)
    assert find_job_folder(tmp_path, longer) == folder and not is_finished(folder, longer)
    stable = replace(longer, reassign=replace(longer.reassign, stable_nmi=0.9, stable_ends_training=True))
    assert is_finished(folder, stable)  # it may end before its last epoch


def test_a_folder_that_cannot_be_read_is_nobodys(tmp_path: Path) -> None:
    folder = a_run(tmp_path, "0")
    (folder / "config.yaml").write_text("clustering: {kind: unheard_of}")
    assert find_job_folder(tmp_path, settings()) is None
    (folder / "config.yaml").unlink()
    (folder / JOB_FILE).write_text("{")
    assert find_job_folder(tmp_path, settings()) is None


def test_a_run_whose_store_dtype_was_chosen_for_it_is_still_its_job(tmp_path: Path) -> None:
    """run.py stores what extraction.store_dtype=auto came to; the sweep's next start types auto again."""
    folder = a_run(tmp_path, "0")
    write_config(settings("extraction.store_dtype=float32"), folder)
    assert find_job_folder(tmp_path, settings()) == folder
    full = settings("extraction.store_dtype=float32")  # the sweep may have this job too
    assert find_job_folder(tmp_path, full) is None
    typed = Job(number=0, folder=str(folder), overrides={}, store_dtype="float32")
    write_job(typed)
    assert find_job_folder(tmp_path, full) == folder and find_job_folder(tmp_path, settings()) is None


def test_a_run_whose_k_was_chosen_for_it_is_still_its_job(tmp_path: Path) -> None:
    folder = a_run(tmp_path, "0", "clustering.k=35")
    assert find_job_folder(tmp_path, settings("clustering.k=auto")) is None
    write_job(Job(number=0, folder=str(folder), overrides={}, chooses_k=True))
    assert find_job_folder(tmp_path, settings("clustering.k=auto")) == folder
    assert find_job_folder(tmp_path, settings("clustering.k=35")) is None


def test_another_number_of_processes_is_another_job(tmp_path: Path) -> None:
    """Each has batches of reading.batch_size, so a step is of other images."""
    a_run(tmp_path, "0")
    assert find_job_folder(tmp_path, settings("trainer=ddp", "trainer.devices=2")) is None


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (
            "trainer.accelerator=cpu",
            "trainer.accelerator=auto",
            "=cpu and trainer.accelerator=auto have the same result",
        ),
        ("clustering.k=5", "clustering.k=5", "seed=1 clustering.k=5 is given twice"),
    ],
)
def test_two_jobs_of_one_result_are_refused(first: str, second: str, told: str) -> None:
    """The second would be "done before", and the table would give it the first one's numbers."""
    with pytest.raises(ValueError, match=told):
        check_all_differ([["seed=1", first], ["seed=1", second]], [settings(first), settings(second)])
    check_all_differ([[first], ["seed=2", second]], [settings(first), settings("seed=2", second)])
