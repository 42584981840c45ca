import os
import time
from dataclasses import replace

import pytest
import torch
from reference.walk import walked
from support.images_of import images_of

from deepcluster.data.reading_settings import Reading
from deepcluster.data.sources import index as index_module
from deepcluster.data.sources.index import find_images
from deepcluster.data.sources.load import load

AGO_NS = 10_000_000_000


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def settle(root):
    """As if all folders had changed ten seconds ago."""
    past = time.time_ns() - AGO_NS
    for folder, _, _ in os.walk(root, followlinks=False):
        os.utime(folder, ns=(past, past))


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setattr(index_module, "N_REMEMBERED", 1)
    return images_of("folder", root=str(tmp_path / "images"), cache_dir=str(tmp_path / "cache"))


@pytest.fixture
def listed(monkeypatch):
    """Paths of the folders that are listed."""
    names: list[str] = []
    real = os.scandir
    monkeypatch.setattr(index_module.os, "scandir", lambda path: names.append(str(path)) or real(path))
    return names


NAMES = [
    "a/1.jpg",
    "a/b/2.png",
    "a/c.jpg/3.png",
    "a/d.JPG",
    "a/e/f/g/4.webp",
    "z.png",
    "B.png",
    "é/写真.png",
    "a.b/5.png",
]
NAMES += ["a/new\nline.png", "a/un\udcffdecodable.png", "a b/6.tif", "\U0001f600/7.png", "\uffff/8.png"]
OTHERS = [".hidden.png", "a/.b/9.png", "__MACOSX/10.png", "a/notes.txt", "empty/text.md", "a/_.png.part"]


def test_the_files_and_their_order_are_those_of_a_plain_walk(tmp_path, settings):
    touch(tmp_path / "images", *NAMES, *OTHERS, "../elsewhere/f/g/4.webp")
    os.symlink(tmp_path / "images", tmp_path / "images" / "a" / "circle")
    os.symlink(tmp_path / "images" / "a" / "e", tmp_path / "images" / "again")
    os.symlink(tmp_path / "elsewhere", tmp_path / "images" / "link")
    expected = walked(tmp_path / "images")
    assert sorted(expected) == sorted([*NAMES, "link/f/g/4.webp"])
    fresh, _ = find_images(settings.data.root, *settings)
    settle(tmp_path / "images")
    find_images(settings.data.root, *settings)
    remembered, _ = find_images(settings.data.root, *settings)
    for found in (fresh, remembered):
        assert list(found) == expected and found == expected
        assert [found[i] for i in range(len(expected))] == expected == found[:] and found[-1] == expected[-1]
        assert list(replace(found, prefix="train/")) == [f"train/{name}" for name in expected]
        assert replace(found, prefix="train/")[3] == f"train/{expected[3]}"
        with pytest.raises(IndexError):
            found[len(expected)]


def test_a_second_start_lists_no_folder_and_asks_nothing_of_files(tmp_path, monkeypatch, listed):
    root = tmp_path / "images"
    for folder in range(40):
        path = root / f"{folder // 8:02}" / f"{folder:03}"
        path.mkdir(parents=True)
        first = path / "0.jpg"
        first.write_bytes(b"")
        for i in range(1, 500):
            os.link(first, path / f"{i}.jpg")
    settle(root)
    settings = images_of("folder", root=str(root), cache_dir=str(tmp_path / "cache"))
    listed.clear()
    first, key = find_images(str(root), *settings)
    assert len(first) == 20_000 and len(listed) == 46
    listed.clear()
    asked: list[str] = []
    real = os.stat
    monkeypatch.setattr(index_module.os, "stat", lambda path, **how: asked.append(str(path)) or real(path, **how))
    second, second_key = find_images(str(root), *settings)
    asked = [path for path in asked if path.startswith(str(root))]
    assert not listed and len(asked) == 46 and not [path for path in asked if path.endswith(".jpg")]
    assert list(second) == list(first) and second_key == key


def test_only_changed_folders_are_listed_again(tmp_path, settings, listed):
    root = tmp_path / "images"
    touch(root, *[f"{folder}/{i}.png" for folder in "abcd" for i in range(3)], "a/x/1.png", "top.png")
    settle(root)
    before, first = find_images(settings.data.root, *settings)
    assert len(before) == 14
    changes = [
        (lambda: touch(root, "b/9.png"), ["b/"]),
        (lambda: (root / "c" / "1.png").unlink(), ["c/"]),
        (lambda: (root / "d" / "1.png").rename(root / "d" / "7.png"), ["d/"]),
        (lambda: touch(root, "a/x/y/z/1.png"), ["a/x/", "a/x/y/", "a/x/y/z/"]),
        (lambda: (root / "a" / "x").rename(root / "moved"), ["", "a/", "moved/", "moved/y/", "moved/y/z/"]),
    ]
    for change, folders in changes:
        listed.clear()
        change()
        settle_now = {name: (root / name).stat().st_mtime_ns for name in folders}
        found, fingerprint = find_images(settings.data.root, *settings)
        assert sorted(listed) == sorted(os.path.join(root, name) for name in folders), settle_now
        assert list(found) == walked(root) and fingerprint != first
        first = fingerprint
        for name in folders:  # each its own past time, so that it settles
            os.utime(root / name, ns=(settle_now[name] - AGO_NS, settle_now[name] - AGO_NS))
        first = find_images(settings.data.root, *settings)[1]


def test_a_folder_that_changed_just_now_is_listed_again(tmp_path, settings, listed):
    root = tmp_path / "images"
    touch(root, "a/1.png", "b/1.png")
    settle(root)
    touch(root, "b/2.png")
    status = (root / "b").stat()
    find_images(settings.data.root, *settings)
    touch(root, "b/3.png")
    os.utime(root / "b", ns=(status.st_mtime_ns, status.st_mtime_ns))  # within the clock's tick
    listed.clear()
    assert "b/3.png" in list(find_images(settings.data.root, *settings)[0])
    assert listed == [os.path.join(root, "b/")]


def test_a_link_whose_target_is_gone_is_forgotten(tmp_path, settings):
    touch(tmp_path, "images/a/1.png", "elsewhere/2.png")
    os.symlink(tmp_path / "elsewhere", tmp_path / "images" / "link")
    settle(tmp_path)
    assert list(find_images(settings.data.root, *settings)[0]) == ["a/1.png", "link/2.png"]
    (tmp_path / "elsewhere" / "2.png").unlink()
    (tmp_path / "elsewhere").rmdir()
    assert list(find_images(settings.data.root, *settings)[0]) == ["a/1.png"]


def test_a_damaged_index_is_made_again(tmp_path, settings, caplog):
    touch(tmp_path / "images", "1.png", "2.png")
    find_images(settings.data.root, *settings)
    entry = next((tmp_path / "cache").iterdir())
    entry.write_bytes(entry.read_bytes()[:50])
    assert list(find_images(settings.data.root, *settings)[0]) == ["1.png", "2.png"] and "damaged" in caplog.text


def test_readings_of_one_folder_share_its_index_and_nothing_of_small_sets_is_kept(tmp_path, monkeypatch, settings):
    touch(tmp_path / "images", "1.png", "2.png")
    for channels in (1, 3):
        find_images(settings.data.root, replace(settings.data, n_channels=channels), settings.reading)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    monkeypatch.setattr(index_module, "N_REMEMBERED", 3)
    find_images(settings.data.root, settings.data, Reading(cache_dir=str(tmp_path / "other")))
    assert not (tmp_path / "other").exists()


def test_a_set_from_the_index_has_labels_and_reads(make_folder, settings):
    root = make_folder([f"{split}/{label}/{i}.png" for split in ("train", "val") for label in "cab" for i in range(2)])
    (root / "test").mkdir()  # as ImageNet: test images without labels
    touch(root, "test/1.png", "test/2.png")
    for _ in range(2):
        settle(root)
        train, test = (
            load(settings.data, replace(settings.reading, check="none", in_memory="never"), split)
            for split in ("train", "test")
        )
        assert train.samples == [f"train/{label}/{i}.png" for label in "abc" for i in range(2)]
        assert train.labels.tolist() == [0, 0, 1, 1, 2, 2] and test.samples[0] == "val/a/0.png"
        assert train.classes == test.classes == ["a", "b", "c"] and train.labels.dtype == torch.int64
        assert train.read(5).shape == (3, 12, 10)
