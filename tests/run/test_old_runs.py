"""Runs that were made before the package had rooms go on, and are evaluated, as they were written."""

import shutil
from pathlib import Path

import pytest
from support.configs import REPOSITORY
from support.typed import Typist

from deepcluster.clustering.history import read_assignments
from deepcluster.weights import load_backbone

OLD = REPOSITORY / "tests" / "fixtures" / "run_before_rooms"


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def test_an_old_run_is_trained_on_and_keeps_its_assignments(old_run: Path, tmp_path: Path) -> None:
    before = read_assignments(OLD, "epoch_00001")
    done = Typist(tmp_path).train(f"resume={old_run}", "trainer.max_epochs=3")
    assert done.status == 0, done.err
    assert "resuming after epoch 2" in done.out
    history = read_assignments(old_run)
    assert history.names == ["epoch_00000", "epoch_00001", "epoch_00002", "final"]
    assert (history.labels[1] == before.labels[0]).all()


def test_an_old_run_is_evaluated_on_its_own_images(old_run: Path, tmp_path: Path) -> None:
    done = Typist(tmp_path).eval(f"ckpt={old_run}", "evaluation=assign", f"output_dir={tmp_path / 'assigned'}")
    assert done.status == 0, done.err
    now, then = (folder / "clusters.csv" for folder in (tmp_path / "assigned", OLD))
    assert len(now.read_text().splitlines()) == len(then.read_text().splitlines())


def test_an_old_checkpoint_gives_its_backbone(old_run: Path) -> None:
    network, card = load_backbone(str(old_run))
    assert (network.feature_dim, card["image_size"]) == (6, 16)
