"""VOC's lists: what they say, and what is refused."""

import pytest
import torch
from support.voc_folder import red_and_train, write_voc

from deepcluster.evaluation.voc07.lists import choose_splits, read_split, read_splits, voc_folder


def test_lists_become_labels_difficult_and_unnamed_images_are_masked(tmp_path):
    folder = red_and_train(tmp_path, n=7)
    split = read_split(folder, "train", 3)
    assert split.classes == ["red", "train"]  # train_train.txt is a class's list, train.txt is none
    assert split.labels.dtype == torch.int8
    assert split.labels[:, 0].tolist() == [1, 0, 0, 1, -1, 0, 1]
    assert split.labels[:, 1].tolist() == [1, 1, 0, 0, 0, -1, 1]
    assert split.images.samples[2] == "JPEGImages/000002.jpg" and split.images.labels is None


def test_an_image_has_the_pixels_of_its_name_and_the_networks_channels(tmp_path):
    folder = red_and_train(tmp_path, n=7)
    for n_channels in (1, 2, 3, 4):
        images = read_split(folder, "val", n_channels).images
        assert images.read(0).shape == (n_channels, 30, 40)
    red = read_split(folder, "val", 3).images.read(3).float().mean((1, 2))
    assert red[0] > 240 and red[1] < 40


def test_images_come_from_the_class_lists_where_there_is_no_list_of_all(tmp_path):
    folder = write_voc(tmp_path, {"train": ["000001", "000002", "000003"]}, {"cat_train": {"000003": 1, "000001": -1}})
    assert read_split(folder, "train", 3).labels.tolist() == [[0], [-1], [1]]
    (folder / "ImageSets/Main/train.txt").unlink()
    split = read_split(folder, "train", 3)
    assert split.labels.tolist() == [[1], [0]] and split.images.samples[0].endswith("000003.jpg")


def test_the_devkit_or_its_year_may_be_named(tmp_path):
    folder = red_and_train(tmp_path)
    assert voc_folder(str(tmp_path)) == voc_folder(str(folder)) == folder
    assert choose_splits(folder) == ("train", "val")
    for name in ("cat_trainval", "cat_test"):
        (folder / f"ImageSets/Main/{name}.txt").write_text("000001 1\n")
    assert choose_splits(folder) == ("trainval", "test")


def test_folders_that_are_no_devkit_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"evaluation\.root has no value"):
        voc_folder(None)
    with pytest.raises(FileNotFoundError, match=r"holds no ImageSets/Main .* give the folder VOCdevkit"):
        voc_folder(str(tmp_path))
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="no folder JPEGImages"):
        voc_folder(str(tmp_path))
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no lists CLASS_SPLIT\.txt"):
        choose_splits(voc_folder(str(tmp_path)))


def test_bad_lists_are_refused_by_name(tmp_path):
    folder = red_and_train(tmp_path)
    lists = folder / "ImageSets/Main"
    with pytest.raises(FileNotFoundError, match=r"no lists \*_test\.txt; it has lists of train, val"):
        read_split(folder, "test", 3)
    with pytest.raises(ValueError, match="belong together"):
        read_splits(str(folder), "train", None, 3)
    with pytest.raises(ValueError, match=r"24 images are in train and in train, first JPEGImages/000000\.jpg"):
        read_splits(str(folder), "train", "train", 3)
    with pytest.raises(ValueError, match="takes 5 channels"):
        read_splits(str(folder), None, None, 5)
    kept = {file: file.read_text() for file in lists.glob("*_val.txt")}
    for file, text in kept.items():
        file.write_text(text.replace(" 1\n", " 0\n"))
    with pytest.raises(ValueError, match="no image of val shows any of the classes"):
        read_splits(str(folder), "train", "val", 3)
    for file, text in kept.items():
        file.write_text(text)
    (lists / "dog_val.txt").write_text("001000 -1\n")
    with pytest.raises(ValueError, match=r"different classes.*: dog"):
        read_splits(str(folder), "train", "val", 3)
    (lists / "dog_train.txt").write_text("000000 -1\n\n000001 2\n")
    with pytest.raises(ValueError, match=r"dog_train\.txt, line 3: expected .* got '000001 2'"):
        read_splits(str(folder), "train", "val", 3)
    (lists / "dog_train.txt").write_text("000000 -1\n999999 1\n")
    with pytest.raises(FileNotFoundError, match=r"1 of 25 images .* first 999999\.jpg"):
        read_splits(str(folder), "train", "val", 3)
