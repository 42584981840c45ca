import os

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
    assert "2 .heic files are left out" in caplog.text and "txt" not in caplog.text


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


def test_links_are_followed_but_not_in_circles(make_folder):
    root = make_folder(["a/1.png", "b/2.png"])
    os.symlink(root, root / "a" / "circle")
    os.symlink(root / "b", root / "c")
    assert load(*folder(root), "train").samples == ["a/1.png", "b/2.png", "c/2.png"]


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
