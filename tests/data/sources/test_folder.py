import logging
import os
import subprocess

import numpy as np
import pytest
from support.images_of import images_of

from deepcluster.data.sources.load import load


def folder(root, **settings):
    return images_of("folder", root=str(root), cache_dir="none", **settings)


def test_class_folders_give_labels_and_relative_paths(make_folder):
    root = make_folder(["b/2.png", "b/10.png", "a/1.png"])
    images = load(*folder(root), "train")
    assert images.samples == ["a/1.png", "b/10.png", "b/2.png"]
    assert images.labels.tolist() == [0, 1, 1] and images.classes == ["a", "b"]
    assert load(*folder(root), "test") is None


def test_labels_can_be_ignored(make_folder):
    images = load(*folder(make_folder(["a/1.png", "b/2.png"]), labels="none"), "train")
    assert images.labels is None and images.classes is None


@pytest.mark.parametrize(
    "names",
    [["1.png", "2.png"], ["a/1.png", "2.png"], ["a/x/1.png", "b/y/2.png"], ["only/1.png", "only/2.png"]],
)
def test_other_depths_are_unlabelled_sets(make_folder, names):
    images = load(*folder(make_folder(names)), "train")
    assert images.labels is None and images.classes is None and sorted(images.samples) == sorted(names)


@pytest.mark.parametrize("name", ["test", "val", "validation", "valid", "Test"])
def test_splits_are_folders_and_their_classes_are_common(make_folder, name):
    train = "Train" if name.istitle() else "train"
    root = make_folder([f"{train}/a/1.png", f"{train}/c/2.png", f"{name}/b/3.png", f"{name}/c/4.png"])
    train, test = load(*folder(root), "train"), load(*folder(root), "test")
    assert train.classes == test.classes == ["a", "b", "c"]
    assert train.labels.tolist() == [0, 2] and test.labels.tolist() == [1, 2]
    assert test.samples == [f"{name}/b/3.png", f"{name}/c/4.png"]


def test_a_test_folder_without_a_train_folder_is_refused(make_folder):
    with pytest.raises(ValueError, match="has val/ but no train/"):
        load(*folder(make_folder(["val/1.png", "val/2.png"])), "train")


def test_a_class_called_train_is_not_taken_for_the_training_set(make_folder):
    root = make_folder(["bus/1.png", "car/2.png", "train/3.png"])
    with pytest.raises(ValueError, match=r"has train/ beside bus/, car/ with images: give data.root="):
        load(*folder(root), "train")
    assert load(*folder(root / "train"), "train").samples == ["3.png"]


def test_a_training_set_may_have_folders_without_images_and_other_sets_beside_it(make_folder):
    root = make_folder(["train/a/1.png", "train/b/2.png"])
    (root / "annotations").mkdir()
    assert load(*folder(root), "train").classes == ["a", "b"]
    make_folder(["extra/3.png", "test/a/4.png"])
    assert load(*folder(root), "train").classes == ["a", "b"]


def test_images_of_formats_that_are_not_read_are_told(make_folder, caplog):
    root = make_folder(["1.png", "2.png"])
    for name in ("a.HEIC", "b.heic", "notes.txt"):
        (root / name).write_text("")
    assert len(load(*folder(root), "train")) == 2
    assert "left out: 2 .heic files (formats that are not read" in caplog.text and "txt" not in caplog.text


def test_missing_empty_and_wrong_roots_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist.*\.jpg"):
        load(*folder(tmp_path / "nowhere"), "train")
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(FileNotFoundError, match=r"no images under .*\.webp"):
        load(*folder(tmp_path), "train")
    with pytest.raises(FileNotFoundError, match="is a file"):
        load(*folder(tmp_path / "notes.txt"), "train")


def test_hidden_files_and_other_files_are_ignored(make_folder):
    root = make_folder(["1.png", "2.png", ".3.png", ".thumbs/4.png", "__MACOSX/5.png"])
    (root / "readme.txt").write_text("")
    assert load(*folder(root), "train").samples == ["1.png", "2.png"]


def test_links_are_followed_but_each_folder_is_read_once_by_its_own_path(make_folder, tmp_path, caplog):
    root = make_folder(["m/1.png", "n/x/2.png", "../other/3.png", "../other/deep/4.png"])
    for target, link in ((root, "m/circle"), (root / "n" / "x", "a"), (tmp_path / "other", "b"), (root / "b", "c")):
        os.symlink(target, root / link)
    os.symlink(tmp_path, tmp_path / "other" / "up")  # leads above the root, and back into it
    os.symlink("loop.png", root / "loop.png")
    images = load(*folder(root), "train")
    assert images.samples == ["b/3.png", "b/deep/4.png", "m/1.png", "n/x/2.png"]
    assert "6 links" in caplog.text and "a/, b/up/images/, b/up/other/, c/, loop.png, ..." in caplog.text


def test_what_systems_and_programs_keep_beside_photographs_is_left_out_and_told(make_folder, caplog):
    caplog.set_level("INFO")
    kept = ["Thumbs/a.png", "cat/1.png", "dog/1.png"]  # a class may be called Thumbs
    of_systems = ["@eaDir/1.png/SYNOPHOTO_THUMB_M.png", "#recycle/2.png", "$RECYCLE.BIN/3.png", "lost+found/4.png"]
    of_systems += ["System Volume Information/5.png", "@eadir/6.png", "all.lrdata/7.png"]
    hidden = [".Trash-1000/1.png", ".thumbnails/2.png", "._1.png", ".AppleDouble/1.png", "__MACOSX/cat/1.png"]
    root = make_folder([*kept, *(f"cat/{name}" for name in of_systems), *(f"dog/{name}" for name in hidden)])
    make_folder(["cat/thumbs/1.png", "dog/thumbnails/thumb_1.png"])  # namesakes of the photographs beside them
    images = load(*folder(root), "train")
    assert images.samples == kept and images.classes == ["Thumbs", "cat", "dog"]
    told = " ".join(line.message for line in caplog.records)
    assert "1 @eaDir, 1 @eadir, " in told and "3 hidden folders; 1 hidden image files" in told
    assert "2 folders of thumbnails of the images beside them: cat/thumbs/, dog/thumbnails/" in told


def test_of_a_photos_library_only_the_originals_are_read(make_folder):
    library = "My.photoslibrary/"
    root = make_folder([f"{library}originals/0/1.png", f"{library}resources/derivatives/0/1.png", "2.png"])
    assert load(*folder(root), "train").samples == ["2.png", f"{library}originals/0/1.png"]


@pytest.mark.parametrize(
    ("marks", "picture"),
    [
        (["config.yaml", "train.log"], "figures/1.png"),
        (["config.yaml", "checkpoints/last.ckpt"], "1.png"),
        (["eval.log"], "clusters_001.png"),
        (["clusters.csv", "gallery.csv", "index.html"], "clusters_001.png"),
        (["multirun.yaml"], "0_a/1.png"),
        ([".hydra/config.yaml"], "1.png"),
    ],
)
def test_runs_and_their_galleries_below_the_root_are_no_photographs(make_folder, caplog, marks, picture):
    caplog.set_level("INFO")
    root = make_folder(["train/1.png", "train/2.png", f"train/runs/2030/{picture}", f"runs/2031/{picture}"])
    for run in (root / "train" / "runs" / "2030", root / "runs" / "2031"):
        for mark in marks:
            (run / mark).parent.mkdir(exist_ok=True)
            (run / mark).write_text("")
    assert load(*folder(root), "train").samples == ["train/1.png", "train/2.png"]
    assert "1 folders of runs and results: runs/2030/" in " ".join(line.message for line in caplog.records)


def test_folders_without_permission_are_passed_over_and_named_once(make_folder, monkeypatch, caplog):
    root = make_folder(["cat/1.png", "dog/2.png", "cat/private/3.png", "closed/4.png"])
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "private" not in str(path) and real(path, mode))
    real_scan = os.scandir

    def scan(path):
        if "closed" in str(path):
            raise PermissionError(13, "Permission denied", path)
        return real_scan(path)

    monkeypatch.setattr(os, "scandir", scan)
    for _ in range(2):
        assert load(*folder(root), "train").samples == ["cat/1.png", "dog/2.png"]
    told = [line.message for line in caplog.records if "no permission" in line.message]
    assert len(told) == 1 and "2 folders that may not be read (no permission): cat/private/, closed/" in told[0]
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ValueError, match="images may not be read: no permission"):
        load(*folder(root), "train")


@pytest.fixture
def deep_root(make_folder):
    """Two images above 1,500 folders in each other."""
    root = make_folder(["1.png", "2.png", "deep/deep/3.png"])
    there = os.open(root, os.O_RDONLY)
    for level in range(1500):
        if level > 1:
            os.mkdir("deep", dir_fd=there)
        below = os.open("deep", os.O_RDONLY, dir_fd=there)
        os.close(there)
        there = below
    os.close(there)
    yield root
    subprocess.run(["rm", "-rf", root / "deep"], check=True)  # shutil.rmtree comes to no end of it


def test_a_folder_of_1500_levels_is_walked_as_deep_as_paths_may_be_long(deep_root, caplog):
    assert load(*folder(deep_root), "train").samples == ["1.png", "2.png", "deep/deep/3.png"]
    assert "1 folders and files with longer paths than the system allows: deep/deep/" in caplog.text


def test_images_with_names_of_the_web_are_known_by_their_first_bytes(make_folder, caplog):
    names = ["0a1b2c3d", "copy.jpg ", "leaf.jpg?w=300&h=200", "photo.jfif", "x.jpg_large", "y.pjpeg", "z.001"]
    root = make_folder([*names, "half.part", "z.png_original", "z.png~", "film.thm", "raw.dng", "raw.cr2", "b.CR2"])
    for name, content in (("notes", "BM, the first"), ("1.jpg.json", "{}"), ("side.xmp", "<x/>"), ("P5", "P5 1 1")):
        (root / name).write_text(content)
    os.mkfifo(root / "pipe")
    assert load(*folder(root), "train").samples == sorted(names)
    assert "left out: 2 .cr2, 1 .dng files" in caplog.text


def test_images_beside_the_class_folders_take_the_labels_away_and_are_named(make_folder, caplog):
    root = make_folder(["cat/1.png", "cat/2.png", "dog/3.png", "cover.png"])
    assert load(*folder(root), "train").labels is None
    assert "1 of 4 images do not lie directly in a class folder ('cover.png'), so no image has a label" in caplog.text
    caplog.clear()
    load(*folder(root, labels="none"), "train")
    load(*folder(make_folder(["../flat/1.png", "../flat/a/2.png"]).parent / "flat"), "train")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_accents_written_in_two_ways_are_one_class_and_one_order(make_folder, tmp_path):
    one, two = "Caf\u00e9", "Cafe\u0301"
    for copy, accent in enumerate((one, two)):
        make_folder([f"../{copy}/{name}" for name in (f"train/{accent}/z.png", "train/Caff/e.png", f"val/{one}/1.png")])
        train, test = (load(*folder(tmp_path / str(copy)), split) for split in ("train", "test"))
        assert train.classes == ["Caff", one] and train.samples == ["train/Caff/e.png", f"train/{accent}/z.png"]
        assert train.labels.tolist() == [0, 1] and test.labels.tolist() == [1]
    both = make_folder([f"{one}/1.png", f"{two}/2.png"])  # two folders stay two
    assert load(*folder(both), "train").labels.tolist() == [0, 1]


def test_odd_file_names_are_read(make_folder):
    names = ["new\nline.png", "r\u00e9sum\u00e9 \u5199\u771f.PNG", "un\udcffdecodable.png"]
    images = load(*folder(make_folder(names), in_memory="never"), "train")
    assert images.samples == sorted(names)
    assert [images.read(i).shape for i in range(3)] == [(3, 12, 10)] * 3


def test_a_limit_takes_evenly_spaced_images(make_folder):
    root = make_folder([f"{label}/{i}.png" for label in "ab" for i in range(6)])
    images = load(*folder(root, limit=4), "train")
    assert images.samples == ["a/0.png", "a/3.png", "b/0.png", "b/3.png"]


def test_channels_are_found_and_common_to_both_splits(make_folder):
    root = make_folder(["train/1.png", "train/2.png"], mode="L")
    make_folder(["test/1.png", "test/2.png"], mode="RGB")
    assert load(*folder(root), "train").n_channels == 1
    assert load(*folder(root), "test").n_channels == 1
    assert load(*folder(root, n_channels=3), "test").n_channels == 3


def write_arrays(root, names, n_channels, height=12, width=10):
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shape = (height, width, n_channels)
        np.save(root / name, np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


@pytest.mark.parametrize("n_channels", [1, 2, 5])
@pytest.mark.parametrize("in_memory", ["always", "never"])
def test_arrays_are_images_of_their_own_number_of_channels(tmp_path, n_channels, in_memory):
    write_arrays(tmp_path, ["train/a/1.npy", "train/b/2.NPY.npy", "test/a/3.npy"], n_channels)
    images, test = (load(*folder(tmp_path, in_memory=in_memory), split) for split in ("train", "test"))
    assert images.n_channels == test.n_channels == n_channels and images.labels.tolist() == [0, 1]
    for i, name in enumerate(images.samples):
        assert (images.read(i).numpy() == np.load(tmp_path / name).transpose(2, 0, 1)).all()


def test_arrays_of_another_number_and_files_without_so_many_channels_are_broken(make_folder):
    root = make_folder([f"{i}.png" for i in range(3)])
    write_arrays(root, ["4.npy", "5.npy", "6.npy"], 5)
    write_arrays(root, ["7.npy"], 6)
    with pytest.raises(ValueError) as error:
        load(*folder(root), "train")
    message = str(error.value)
    assert "4 of 7 images" in message and "'7.npy': the array has 6 channels, the set 5" in message
    assert "'0.png': an image file gives 1 to 4 channels, the set has 5" in message
    images = load(*folder(root, on_broken="skip"), "train")
    assert images.samples == ["4.npy", "5.npy", "6.npy"] and images.n_channels == 5


def test_an_array_that_is_no_image_is_named_and_leaves_the_images_channels(make_folder):
    root = make_folder(["1.png", "2.png"])
    np.save(root / "labels.npy", np.arange(2))
    with pytest.raises(ValueError, match=r"'labels.npy': the array holds int64.*move the file out of data.root"):
        load(*folder(root), "train")
    assert load(*folder(root, on_broken="skip"), "train").n_channels == 3


def test_image_files_give_alpha_if_four_channels_are_asked_for(make_folder):
    root = make_folder(["1.png", "2.png"], mode="RGBA")
    assert load(*folder(root), "train").n_channels == 3
    images = load(*folder(root, n_channels=4), "train")
    assert images.n_channels == 4 and (images.read(0)[3] == 255).all()
