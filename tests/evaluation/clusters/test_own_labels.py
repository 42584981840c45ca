"""Whether images are those of the run goes by what they hold, not by where they are called from."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.history import FOLDER, write_contents, write_samples
from deepcluster.data.contents import contents
from deepcluster.data.images import MemoryImages
from deepcluster.data.settings import Folder
from deepcluster.evaluation.clusters.clustered_images import own_labels

IMAGES = MemoryImages(
    images=torch.zeros(4, 1, 2, 2).byte(), samples=["a", "b", "c", "d"], contents=contents(range(4), [5, 6, 7, 8])
)
REPLACED = replace(IMAGES, contents=contents(range(4), [5, 6, 7, 9]))
UNKNOWN = replace(IMAGES, contents=None)


def context(run: Path, root: str) -> Any:
    assignment = Assignment(labels=torch.tensor([0, 1, 0, 1]), k=2, objective=0.0, centroids=torch.zeros(2, 1))
    file = run / "checkpoints" / "last.ckpt"
    stored = SimpleNamespace(path=file, home=run, assignment=assignment, format="checkpoint")
    return SimpleNamespace(stored=stored, run_data=Folder(root="/here"), data=Folder(root=root))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_samples(tmp_path / FOLDER, IMAGES.samples)
    assert IMAGES.contents is not None
    write_contents(tmp_path / FOLDER, IMAGES.contents.numpy())
    return tmp_path


@pytest.mark.parametrize("root", ["/here", "/moved"])
def test_images_that_hold_the_same_are_the_runs_own_wherever_they_lie(run: Path, root: str) -> None:
    assert own_labels(context(run, root), IMAGES) is not None
    assert own_labels(context(run, root), REPLACED) is None


def test_own_clusters_of_replaced_images_are_refused(run: Path) -> None:
    with pytest.raises(ValueError, match="1 hold something else than then"):
        own_labels(context(run, "/here"), REPLACED, "own")


def test_without_contents_the_place_decides(run: Path) -> None:
    assert own_labels(context(run, "/here"), UNKNOWN) is not None
    assert own_labels(context(run, "/moved"), UNKNOWN) is None
