"""Images that were replaced under their names are noticed, whatever remembers them; copies are told."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deepcluster.clustering.history import FOLDER, changed_images, write_contents, write_samples
from deepcluster.data.contents import content_digest, contents, tell_copies
from deepcluster.data.images import ImageSet
from deepcluster.data.reading_settings import Reading
from deepcluster.data.settings import Arrays, Folder
from deepcluster.data.sources.load import load
from deepcluster.data.statistics import statistics
from deepcluster.data.view_settings import View
from deepcluster.run.train import check_contents

N = 6


def make(folder: Path, grey: int, n: int = N) -> Path:
    folder.mkdir(exist_ok=True)
    for i in range(n):
        Image.fromarray(np.full((8, 8, 3), grey + i, np.uint8)).save(folder / f"{i}.png")
    return folder


def read(folder: Path, cache: Path, check: str = "all") -> ImageSet:
    images = load(Folder(root=str(folder)), reading(cache, check), "train")
    assert images is not None
    return images


def reading(cache: Path, check: str) -> Reading:
    return Reading(check=check, cache_dir=str(cache), in_memory="auto" if check == "all" else "never")


@pytest.mark.parametrize("check", ["all", "sample", "none"])
def test_a_picture_that_is_replaced_in_place_is_noticed(tmp_path: Path, check: str) -> None:
    folder = make(tmp_path / "d", 10)
    before = read(folder, tmp_path / "cache", check)
    write_samples(tmp_path / "run" / FOLDER, before.samples)
    write_contents(tmp_path / "run" / FOLDER, before.contents.numpy())
    check_contents(tmp_path / "run", read(folder, tmp_path / "cache", check))
    Image.fromarray(np.full((8, 8, 3), 200, np.uint8)).save(folder / "3.png")
    os.utime(folder / "3.png", (1, 1))  # whatever the clock's tick
    now = read(folder, tmp_path / "cache", check)
    with pytest.raises(ValueError, match=r"1 of 6 images hold something else .* the first is '3.png'; put the old"):
        check_contents(tmp_path / "run", now)


def settings(folder: Path, tmp_path: Path, check: str) -> tuple[Folder, Reading]:
    return Folder(root=str(folder)), reading(tmp_path / "cache", check)


@pytest.mark.parametrize("check", ["sample", "none"])
def test_remembered_means_do_not_answer_for_replaced_pictures(tmp_path: Path, check: str) -> None:
    folder = make(tmp_path / "d", 10)
    known = settings(folder, tmp_path, check)
    mean, _ = statistics(read(folder, tmp_path / "cache", check), View(size=8), *known)
    make(folder, 200)
    assert statistics(read(folder, tmp_path / "cache", check), View(size=8), *known)[0][0] > mean[0] + 0.5


def test_a_copied_folder_holds_the_same(tmp_path: Path) -> None:
    folder = make(tmp_path / "d", 10)
    before = read(folder, tmp_path / "cache")
    shutil.copytree(folder, tmp_path / "e", copy_function=shutil.copy)  # new times of change
    assert torch.equal(read(tmp_path / "e", tmp_path / "cache").contents, before.contents)


def test_a_run_of_an_older_version_is_resumed_unchecked(tmp_path: Path) -> None:
    images = read(make(tmp_path / "d", 10), tmp_path / "cache")
    write_samples(tmp_path / "run" / FOLDER, images.samples)
    check_contents(tmp_path / "run", images)


def test_only_images_that_both_have_looked_at_are_compared(tmp_path: Path) -> None:
    write_contents(tmp_path / FOLDER, np.array([[0, 7], [2, 8], [4, 9]]))
    assert changed_images(tmp_path, np.array([[0, 7], [1, 5], [4, 1]])) == [4]
    assert changed_images(tmp_path, np.array([[1, 5]])) is None


def test_an_array_of_another_shape_holds_something_else() -> None:
    pixels = torch.arange(12, dtype=torch.uint8)
    assert content_digest(pixels.view(3, 2, 2)) != content_digest(pixels.view(3, 1, 4))
    assert content_digest(b"ab") == content_digest(b"ab") != content_digest(b"ac")


def test_the_shipped_subset_has_contents_and_no_copies() -> None:
    images = load(Arrays(), Reading(), "train")
    assert images is not None and len(images.contents) > 1000 and tell_copies(images.contents) is None


@pytest.mark.parametrize(
    ("digests", "said"),
    [
        ([5, 5, 5, 5], "most of 4 images are identical, byte for byte: all are copies of one image"),
        ([5, 5, 5, 6], "there are only 2 different ones"),
        ([5, 5, 6, 7], None),
        ([0, 0, 0, 5], None),  # could not be read
    ],
)
def test_copies_are_told_if_they_are_the_most(digests: list[int], said: str | None) -> None:
    sentence = tell_copies(contents(range(4), digests))
    assert sentence is None if said is None else said in str(sentence)
