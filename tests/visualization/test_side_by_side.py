"""The pictures of several jobs in one."""

from pathlib import Path

import numpy as np
from PIL import Image

from deepcluster.visualization.side_by_side import MOST, side_by_side


def job(folder: Path, colour: str, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        Image.new("RGB", (40, 30), colour).save(folder / name)
    return folder


def test_pictures_that_all_jobs_drew_stand_beside_each_other(tmp_path: Path) -> None:
    folders = {"one": job(tmp_path / "1", "red", "a.png", "b.png"), "two": job(tmp_path / "2", "blue", "a.png")}
    assert side_by_side(folders, tmp_path) == [tmp_path / "a.png"]
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))
    middle = pixels[pixels.shape[0] // 2]
    red, blue = ((middle == colour).all(1).nonzero()[0] for colour in ([255, 0, 0], [0, 0, 255]))
    assert len(red) > 300 and len(blue) > 300 and red.max() < blue.min()


def test_one_job_or_too_many_are_left_as_they_are(tmp_path: Path) -> None:
    folders = {str(i): job(tmp_path / str(i), "red", "a.png") for i in range(MOST + 1)}
    assert side_by_side(folders, tmp_path) == []
    assert side_by_side({"0": folders["0"]}, tmp_path) == [] and not (tmp_path / "a.png").exists()
