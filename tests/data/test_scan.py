import logging

import numpy as np
import pytest
import torch
from PIL import Image
from reference.pictures import encoded, picture
from support.images_of import images_of

from deepcluster.data import scan as scan_module
from deepcluster.data.decode import decode_file
from deepcluster.data.images import FileImages, MemoryImages
from deepcluster.data.sources.load import load
from deepcluster.data.statistics import statistics
from deepcluster.data.view_settings import View


@pytest.fixture
def broken(make_folder):
    root = make_folder([f"{i}.png" for i in range(8)])
    (root / "1.png").write_bytes(b"")
    (root / "4.jpg").write_text("a text")
    (root / "5.jpg").write_bytes(encoded(picture(9, 60, 60), "JPEG")[:-40])
    return root


def folder(root, **settings):
    return images_of("folder", root=str(root), **{"cache_dir": "none", **settings})


def test_broken_images_are_one_error_before_training(broken):
    with pytest.raises(ValueError) as error:
        load(*folder(broken), "train")
    message = str(error.value)
    assert "3 of 10 images" in message and "reading.on_broken=skip" in message
    for name, reason in (("1.png", "empty"), ("4.jpg", "not an image"), ("5.jpg", "truncated")):
        assert f"'{name}': " in message and reason in message and f"/{name}" not in message


@pytest.mark.parametrize("in_memory", ["always", "never"])
def test_broken_images_are_left_out_and_told(broken, in_memory, caplog):
    with caplog.at_level(logging.WARNING):
        images = load(*folder(broken, on_broken="skip", in_memory=in_memory), "train")
    assert images.samples == ["0.png", "2.png", "3.png", "4.png", "5.png", "6.png", "7.png"]
    assert [name for name, _ in images.skipped] == ["1.png", "4.jpg", "5.jpg"]
    assert "3 of 10" in caplog.text
    for i, name in enumerate(images.samples):
        assert (images.read(i) == decode_file(str(broken / name), 3)).all()


def test_only_broken_images_are_an_error_even_when_they_are_skipped(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(ValueError, match="2 of 2 images"):
        load(*folder(tmp_path, on_broken="skip"), "train")


def test_small_sets_of_one_size_live_in_memory(make_folder):
    root = make_folder(["1.png", "2.png", "3.png"])
    images = load(*folder(root), "train")
    on_disk = load(*folder(root, in_memory="never"), "train")
    assert isinstance(images, MemoryImages) and isinstance(on_disk, FileImages)
    assert (images.images == torch.stack([on_disk.read(i) for i in range(3)])).all()


def test_images_of_other_sizes_stay_on_disk_or_are_brought_to_one(make_folder):
    root = make_folder(["1.png", "2.png"])
    make_folder(["wide.png"], height=12, width=30)
    assert isinstance(load(*folder(root), "train"), FileImages)
    with pytest.raises(ValueError, match=r"'wide.png' is 30 x 12 and others 10 x 12; set reading.stored_size"):
        load(*folder(root, in_memory="always"), "train")
    images = load(*folder(root, stored_size=8), "train")
    assert isinstance(images, MemoryImages) and images.images.shape == (3, 3, 8, 8)


def test_sets_above_the_memory_limit_stay_on_disk(make_folder):
    root = make_folder(["1.png", "2.png"])
    assert isinstance(load(*folder(root, memory_gb=719e-9), "train"), FileImages)
    assert isinstance(load(*folder(root, memory_gb=721e-9), "train"), MemoryImages)
    with pytest.raises(ValueError, match=r"reading.memory_gb=7.19e-07; raise it"):
        load(*folder(root, memory_gb=719e-9, in_memory="always"), "train")


@pytest.mark.parametrize("in_memory", ["auto", "never"])
def test_an_unchanged_folder_is_decoded_once_and_a_changed_one_again(make_folder, tmp_path, monkeypatch, in_memory):
    root = make_folder(["1.png", "2.png", "3.png"])
    (root / "4.png").write_bytes(b"broken")
    settings = folder(root, cache_dir=str(tmp_path / "cache"), on_broken="skip", in_memory=in_memory)
    scans = []
    real = scan_module._decode_all
    monkeypatch.setattr(scan_module, "_decode_all", lambda *args: scans.append(1) or real(*args))
    first, second = load(*settings, "train"), load(*settings, "train")
    assert len(scans) == 1
    assert first.samples == second.samples and first.skipped == second.skipped != []
    assert all((first.read(i) == second.read(i)).all() for i in range(3))
    before = first.read(1).clone()
    picture(7).save(root / "2.png")
    third = load(*settings, "train")
    assert len(scans) == 2 and not (third.read(1) == before).all()
    (root / "1.png").unlink()
    assert load(*settings, "train").samples == ["2.png", "3.png"]
    assert len(list((tmp_path / "cache").iterdir())) == 1  # a changed set replaces its own entry


def test_a_change_that_keeps_the_size_of_the_file_is_seen(tmp_path):
    settings = folder(tmp_path / "images", cache_dir=str(tmp_path / "cache"))
    (tmp_path / "images").mkdir()
    for seed in (0, 1):
        for name in ("a", "b"):
            picture(seed).save(tmp_path / "images" / f"{name}.bmp")
        assert torch.equal(load(*settings, "train").read(1), decode_file(str(tmp_path / "images" / "b.bmp"), 3))


def test_a_remembered_error_is_told_again(broken, tmp_path):
    settings = folder(broken, cache_dir=str(tmp_path / "cache"))
    for _ in range(2):
        with pytest.raises(ValueError, match="3 of 10 images"):
            load(*settings, "train")


def test_a_file_that_could_not_be_read_is_tried_again(make_folder, tmp_path, monkeypatch):
    settings = folder(make_folder(["1.png", "2.png", "3.png"]), cache_dir=str(tmp_path / "cache"))

    def open_but_not_the_second(path, mode):
        if path.endswith("2.png"):
            raise PermissionError(13, "Permission denied", path)
        return open(path, mode)

    with monkeypatch.context() as away:
        away.setattr("deepcluster.data.decode.open", open_but_not_the_second, raising=False)
        with pytest.raises(ValueError, match=r"'2.png': cannot be read: Permission denied"):
            load(*settings, "train")
    assert len(load(*settings, "train")) == 3  # the file is the same, and can be read now


def test_a_damaged_cache_entry_is_made_again(make_folder, tmp_path, caplog):
    settings = folder(make_folder(["1.png", "2.png"]), cache_dir=str(tmp_path / "cache"))
    first = load(*settings, "train")
    entry = next((tmp_path / "cache").iterdir())
    entry.write_bytes(entry.read_bytes()[:100])
    second = load(*settings, "train")
    assert (first.images == second.images).all() and "damaged" in caplog.text


def test_a_cache_that_cannot_be_written_is_a_warning(make_folder, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    images = load(*folder(make_folder(["1.png", "2.png"]), cache_dir=str(tmp_path / "file" / "cache")), "train")
    assert len(images) == 2 and "nothing remembered" in caplog.text


def test_writing_into_images_does_not_change_what_is_remembered(make_folder, tmp_path):
    settings = folder(make_folder(["1.png", "2.png"]), cache_dir=str(tmp_path / "cache"))
    load(*settings, "train")
    images = load(*settings, "train").images
    before = images.clone()
    images.zero_()
    assert (load(*settings, "train").images == before).all()


def test_a_broken_file_that_was_put_right_in_place_is_taken_by_the_next_sample(make_folder, tmp_path):
    root = make_folder([f"{i}.png" for i in range(4)])
    settings = folder(root, check="sample", in_memory="never", cache_dir=str(tmp_path / "cache"))
    good = (root / "1.png").read_bytes()
    (root / "1.png").write_bytes(b"junk")
    with pytest.raises(ValueError, match="1 of 4 sampled"):
        load(*settings, "train")
    (root / "1.png").write_bytes(good)  # the folder's time of change stays
    assert len(load(*settings, "train")) == 4


def test_a_sample_is_decoded_and_the_set_keeps_its_size(broken, monkeypatch, caplog):
    settings = folder(broken, on_broken="skip", check="sample", in_memory="never")
    images = load(*settings, "train")
    assert len(images) == 10 and images.skipped == [] and images.on_broken == "skip"
    assert "3 of 10 sampled images" in caplog.text and "'4.jpg': not an image" in caplog.text
    with pytest.raises(
        ValueError, match=r"3 of 10 sampled(.|\n)*reading.on_broken=skip shows them in grey; reading.check=all"
    ):
        load(*folder(broken, check="sample"), "train")
    monkeypatch.setattr(scan_module, "_N_SAMPLED", 2)  # images 0 and 5
    assert len(load(*folder(broken, check="sample"), "train")) == 10
    monkeypatch.setattr(scan_module, "_N_SAMPLED", 1)
    (broken / "0.png").write_bytes(b"")
    with pytest.raises(ValueError, match="1 of 1 sampled"):
        load(*folder(broken, check="sample", on_broken="skip"), "train")


def test_a_sample_is_decoded_once(make_folder, tmp_path, monkeypatch):
    settings = folder(make_folder(["1.png", "2.png"]), cache_dir=str(tmp_path / "cache"), check="sample")
    first = load(*settings, "train")
    monkeypatch.setattr(scan_module, "_decode_sample", None)
    assert load(*settings, "train").samples == first.samples


def test_nothing_is_decoded_if_nothing_is_to_be_checked(broken, monkeypatch):
    monkeypatch.setattr(FileImages, "read", None)
    assert len(load(*folder(broken, check="none"), "train")) == 10


def test_all_images_are_checked_unless_there_are_too_many(make_folder, monkeypatch):
    root = make_folder([f"{i}.png" for i in range(4)])  # 360 bytes each
    images = load(*folder(root, in_memory="never"), "train")
    chosen = {}
    for limit in (4, 3):
        monkeypatch.setattr(scan_module, "_N_ALL", limit)
        for name, settings in {
            "never": folder(root, in_memory="never"),
            "fits": folder(root, memory_gb=1441e-9),
            "does not": folder(root, memory_gb=1439e-9),
            "always": folder(root, in_memory="always", memory_gb=1e-9),
            "small": folder(root, stored_size=4, memory_gb=193e-9),
            "asked": folder(root, check="none"),
        }.items():
            chosen[name, limit] = scan_module.choose_check(images, settings.reading)
    assert {name: chosen[name, 4] for name, limit in chosen if limit == 4} == {
        "never": "all", "fits": "all", "does not": "all", "always": "all", "small": "all", "asked": "none",
    }  # fmt: skip
    assert {name: chosen[name, 3] for name, limit in chosen if limit == 3} == {
        "never": "sample", "fits": "all", "does not": "sample", "always": "all", "small": "all", "asked": "none",
    }  # fmt: skip


def test_statistics_leave_out_what_a_sample_did_not_find(broken):
    settings = folder(broken, check="none", on_broken="skip", in_memory="never")
    good = load(*folder(broken, on_broken="skip", in_memory="never"), "train")
    assert statistics(load(*settings, "train"), View(), *settings) == statistics(good, View(), *settings)
    with pytest.raises(ValueError, match=r"1\.png.*empty|[45]\.jpg"):  # whichever a thread comes to first
        statistics(load(*folder(broken, check="none"), "train"), View(), *settings)


@pytest.mark.parametrize(
    ("highest", "max_value", "told"),
    [
        (4095, 65_535, "up to 4,095: that leaves 17 of 256 levels, all dark. reading.max_value=4095 makes 4,095 white"),
        (300, 65_535, "reading.max_value=1023"),
        (4095, 4095, None),
        (60_000, 65_535, None),
        (5000, 4095, "values above reading.max_value=4095, up to 5,000, become white"),
    ],
)
def test_images_of_16_bits_that_use_a_small_part_of_them_are_told_at_every_start(
    tmp_path, caplog, highest, max_value, told
):
    for i in range(3):
        values = np.linspace(0, highest, 100).astype(np.uint16).reshape(10, 10)
        Image.fromarray(values).save(tmp_path / f"{i}.png")
    settings = folder(tmp_path, max_value=max_value, cache_dir=str(tmp_path / ".cache"))
    for _ in range(2):  # the second start decodes nothing
        caplog.clear()
        images = load(*settings, "train")
        assert told in caplog.text if told else "16 bits" not in caplog.text
        assert int(images.read(0).max()) == min(255, round(highest / max_value * 255))


def test_another_max_value_decodes_again(tmp_path):
    Image.fromarray(np.full((10, 10), 1000, np.uint16)).save(tmp_path / "a.png")
    Image.fromarray(np.full((10, 10), 2000, np.uint16)).save(tmp_path / "b.png")
    for in_memory in ("auto", "never"):
        for max_value, level in ((65_535, 4), (4095, 62), (1023, 249)):
            settings = folder(tmp_path, max_value=max_value, cache_dir=str(tmp_path / ".cache"), in_memory=in_memory)
            images = load(*settings, "train")
            assert int(images.read(0)[0, 0, 0]) == level
            mean, _ = statistics(images, View(size=8), *settings)
            assert mean[0] == pytest.approx((level + int(images.read(1)[0, 0, 0])) / 2 / 255, abs=1e-4)
