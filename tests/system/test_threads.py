"""A disk that does not answer ends a run with the image's name: in the scan, with workers and without, in a pipe.

A link to a named pipe that nobody writes to stands for it: opening it never returns.
"""

import os
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from support.images_of import images_of
from threadpoolctl import threadpool_info, threadpool_limits

from deepcluster.data.images import FileImages
from deepcluster.data.loader import EpochLoader, feature_batches
from deepcluster.data.sources.load import load
from deepcluster.data.views import FeatureView, TrainView
from deepcluster.system.threads import CORES, for_each, in_threads, keep_to_cores, n_cores

LIMIT_S = 30.0  # far above the time-outs below; without them nothing would ever end


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    for i in range(8):
        Image.new("L", (12, 12), 20 * i).save(images / f"{i}.png")
    return images


def hang(folder: Path, name: str) -> None:
    os.mkfifo(folder.parent / "pipe")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(folder.parent / "pipe")


def files(folder: Path, timeout_s: float | None) -> FileImages:
    return FileImages(root=folder, samples=[f"{i}.png" for i in range(8)], n_channels=1, timeout_s=timeout_s)


def test_work_that_never_ends_is_named_and_the_rest_is_done() -> None:
    started, done = time.monotonic(), []

    def work(i: int) -> None:
        if i == 5:
            time.sleep(LIMIT_S)
        done.append(i)

    with pytest.raises(TimeoutError, match=r"image 5 cannot be read: no answer within reading\.timeout_s=0\.5 seconds"):
        for_each(20, work, "reading", timeout_s=0.5, name=lambda i: f"image {i}")
    assert time.monotonic() - started < LIMIT_S / 2 and set(done) == set(range(20)) - {5}


def test_results_keep_the_order_and_the_first_error_ends_it() -> None:
    def late(i: int) -> int:
        time.sleep(0.002 * (i % 3))
        return i * i

    squares = in_threads(range(50), late, n_threads=4, timeout_s=5, name=str)
    assert squares == [i * i for i in range(50)]
    assert in_threads([], late, n_threads=4, timeout_s=5, name=str) == []

    def fail(i: int) -> None:
        if i == 3:
            raise KeyError("third")

    with pytest.raises(KeyError, match="third"):
        in_threads(range(50), fail, n_threads=4, timeout_s=None, name=str)


@pytest.mark.parametrize("name", ["0.png", "5.png"])  # the first is read before all others, for channels and size
def test_the_scan_names_a_file_that_does_not_come(name: str, folder: Path) -> None:
    hang(folder, name)
    with pytest.raises(TimeoutError, match=rf"'{name}' cannot be read.*reading\.timeout_s=0\.5 "):
        load(*images_of("folder", root=str(folder), cache_dir="none", timeout_s=0.5), "train")


def test_a_pipe_among_the_images_is_left_out_and_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(folder / "pipe.png")
    images = load(*images_of("folder", root=str(folder), cache_dir="none"), "train")
    assert images is not None and list(images.samples) == [f"{i}.png" for i in range(8)]
    assert "pipe.png is a pipe" in caplog.text


@pytest.mark.parametrize("workers", [0, 2])
def test_extraction_and_training_name_a_file_that_does_not_come(
    workers: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.2)  # waits so long for a worker's end
    images, started = files(folder, timeout_s=1.5), time.monotonic()
    hang(folder, "6.png")
    features = feature_batches(images, FeatureView(8, None, [0.5], [0.2], on_files=True), torch.arange(8), 2, workers)
    with pytest.raises(TimeoutError, match=r"'6\.png' cannot be read: no answer within reading\.timeout_s=1\.5"):
        for _ in features:
            pass
    view = TrainView(8, [0.5, 1.0], [1.0, 1.0], True, [0.5], [0.2], on_files=True)
    loader = EpochLoader(
        images,
        view,
        batch_size=4,
        num_workers=workers,
        persistent_workers=workers > 0,
        seed=1,
        n_per_epoch=8,
        before_epoch=lambda: (0, torch.arange(8)),
    )
    with pytest.raises(TimeoutError, match=r"'6\.png' cannot be read"):
        for _ in loader:
            pass
    loader.close()
    assert time.monotonic() - started < LIMIT_S


def test_reading_within_the_time_gives_the_same_batches(folder: Path) -> None:
    view = FeatureView(8, None, [0.5], [0.2], on_files=True)
    expected = [b.images for b in feature_batches(files(folder, None), view, torch.arange(8), 3, 0)]
    for workers in (0, 2):
        found = [b.images for b in feature_batches(files(folder, 60.0), view, torch.arange(8), 3, workers)]
        assert all(torch.equal(one, two) for one, two in zip(found, expected, strict=True))


def test_a_share_of_the_cores_is_kept_by_threads_and_data_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setenv(CORES, "")
    assert n_cores() == 8
    before = torch.get_num_threads()
    with threadpool_limits():  # puts the pools back as they were
        try:
            keep_to_cores(1)
            assert n_cores() == 1 and torch.get_num_threads() == 1
            assert {pool["num_threads"] for pool in threadpool_info()} == {1}
            keep_to_cores(3)  # the next job of the same process
            assert n_cores() == 3
        finally:
            torch.set_num_threads(before)
