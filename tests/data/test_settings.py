import os

import pytest
from omegaconf import OmegaConf
from support.images_of import images_of

from deepcluster.data.settings import Arrays, Folder, Huggingface, Litdata
from deepcluster.data.view_settings import View


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"source": "imagnet"}, ["data.source", "fashion_mnist_mini", "'imagnet'"]),
        ({"batch_size": 1}, ["reading.batch_size", "at least 2"]),
        ({"num_workers": -1}, ["reading.num_workers", "-1"]),
        ({"in_memory": "yes"}, ["reading.in_memory", "auto, always, never"]),
        ({"memory_gb": float("nan")}, ["reading.memory_gb"]),
        ({"n_channels": 0}, ["data.n_channels", "at least 1", "0"]),
        ({"n_channels": 5}, ["data.n_channels=5", ".npy", "data=fashion_mnist_mini", "1 to 4"]),
        ({"check": "some"}, ["reading.check", "auto, all, sample, none"]),
        ({"check": "none", "in_memory": "always"}, ["reading.in_memory=always", "reading.check=none"]),
        ({"on_broken": "ignore"}, ["reading.on_broken", "error, skip"]),
    ],
)
def test_bad_values_are_refused_with_key_value_and_limit(values, words):
    with pytest.raises(ValueError) as error:
        images_of(**values)
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"size": 2}, ["view.size", "at least 4", "2"]),
        ({"train_size": 3}, ["view.train_size", "at least 4", "3"]),
        ({"size": 64, "resize": 32}, ["view.resize", "view.size=64", "32"]),
        ({"crop_scale": [0.5, 0.2]}, ["view.crop_scale", "[0.5, 0.2]"]),
        ({"crop_scale": [0.5, 1.5]}, ["view.crop_scale", "(0, 1]"]),
        ({"crop_ratio": [1.0]}, ["view.crop_ratio", "[1.0]"]),
        ({"mean": [0.5]}, ["view.mean", "view.std", "both"]),
        ({"mean": [125.0], "std": [60.0]}, ["divide values in 0..255 by 255"]),
        ({"mean": [0.5, 0.5], "std": [0.1]}, ["one value per channel", "[0.5, 0.5]", "[0.1]"]),
        ({"mean": [], "std": []}, ["one value per channel"]),
        ({"color_jitter": [0.4, 0.4, 0.4]}, ["view.color_jitter", "[0.4, 0.4, 0.4]"]),
        ({"color_jitter": [-0.1, 0, 0, 0]}, ["view.color_jitter", "at least 0"]),
        ({"color_jitter": [0, 0, 0, 0.6]}, ["view.color_jitter", "hue at most 0.5"]),
        ({"grey_probability": 1.1}, ["view.grey_probability", "[0, 1]", "1.1"]),
        ({"jitter_probability": float("nan")}, ["view.jitter_probability", "nan"]),
        ({"blur_sigma": [0, 1]}, ["view.blur_sigma", "above 0", "[0, 1]"]),
    ],
)
def test_bad_values_of_the_view_are_refused_with_key_value_and_limit(values, words):
    with pytest.raises(ValueError) as error:
        View(**values)
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize("key", ["size", "train_size"])
def test_crops_larger_than_the_free_memory_are_refused_by_the_key_that_makes_them_large(key):
    with pytest.raises(ValueError, match=rf"^view.{key}=9999999 with reading.batch_size=64 needs .* lower one of them"):
        View(**{key: 9_999_999}).check_batch(64, 1)


def test_mean_and_deviation_have_a_value_for_each_channel():
    with pytest.raises(ValueError, match=r"view.mean and view.std have 1 values, data.n_channels=4"):
        View(mean=[0.5], std=[0.1]).check_channels(4)


def test_arrays_are_in_memory_anyway():
    data, reading = images_of(in_memory="never")
    with pytest.raises(ValueError, match=r"reading\.in_memory=never .*fashion_mnist_mini .*reading\.in_memory=auto"):
        data.check_reading(reading)


def test_settings_are_a_schema_for_hydra():
    schema = OmegaConf.structured(Folder)
    merged = OmegaConf.merge(schema, {"source": "folder", "root": "x"})
    assert OmegaConf.to_object(merged) == Folder(root="x")
    with pytest.raises(Exception, match="rot"):
        OmegaConf.merge(schema, {"rot": "x"})


@pytest.mark.parametrize("n", [2, 4, 5, 300])
def test_any_number_of_channels_with_one_mean_each_is_taken(n):
    assert Folder(root="x", n_channels=n).n_channels == n
    View(mean=[0.5] * n, std=[0.1] * n).check_channels(n)


def test_hashes_of_images_name_the_keys_that_every_source_once_had():
    once = (
        "{'source': 'svhn', 'root': 'x', 'name': None, 'config': None, 'revision': None, 'train_split': None, "
        "'test_split': None, 'image_column': None, 'label_column': None, 'id': None, 'labels': 'none', "
        "'n_channels': None, 'limit': 9}"
    )
    assert repr(Arrays(source="svhn", root="x", labels="none", limit=9).which) == once
    assert Litdata(root="x", cache_gb=1.0).which == Litdata(root="x").which


def test_cache_entries_are_named_by_the_files_that_are_read():
    here = os.path.realpath("")
    assert Folder(root="x", labels="none", limit=9).files == ("folder", os.path.join(here, "x"))
    of_hub = Huggingface(name="a/b", config="c", test_split="dev", id="path")
    assert of_hub.files == ("huggingface", here, "a/b", "c", None, "dev")
    assert Litdata(root="/x", train_split="all").files == ("litdata", "/x", None, None, "all", None)
