import numpy as np
import pytest
import torch
from support.images_of import images_of

from deepcluster.data import statistics as statistics_module
from deepcluster.data.images import MemoryImages
from deepcluster.data.sources.load import load
from deepcluster.data.statistics import statistics
from deepcluster.data.view_settings import View


def memory(images):
    return MemoryImages(images=images, samples=[str(i) for i in range(len(images))])


def test_mean_and_std_are_those_of_all_pixels():
    images = torch.randint(0, 256, (1100, 3, 9, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[:, 1] //= 4
    pixels = images.double().transpose(0, 1).flatten(1) / 255
    mean, std = statistics(memory(images), View(), *images_of())
    assert mean == pytest.approx(pixels.mean(1).tolist(), abs=1e-7)
    assert std == pytest.approx(pixels.std(1, correction=0).tolist(), abs=1e-7)


@pytest.mark.parametrize("in_memory", ["always", "never"])
def test_every_channel_of_an_array_is_measured_alone(tmp_path, in_memory):
    for i in range(3):
        array = np.zeros((4, 4, 5), np.uint8)
        array[...] = [0, 51, 102, 153, 255]
        array[:2, :, 3] = 255  # half 0.6, half 1: mean 0.8, deviation 0.2
        np.save(tmp_path / f"{i}.npy", array)
    settings = images_of("folder", root=str(tmp_path), cache_dir="none", in_memory=in_memory)
    mean, std = statistics(load(*settings, "train"), View(), *settings)
    assert mean == pytest.approx([0, 0.2, 0.4, 0.8, 1], abs=1e-7)
    assert std == pytest.approx([1 / 255, 1 / 255, 1 / 255, 0.2, 1 / 255], abs=1e-6)


def test_a_constant_channel_gets_one_grey_level_as_std():
    images = torch.zeros(4, 1, 5, 5, dtype=torch.uint8)
    assert statistics(memory(images), View(), *images_of()) == ([0.0], [pytest.approx(1 / 255)])


def test_set_values_are_given_back_and_must_fit_the_channels():
    images = torch.zeros(4, 1, 5, 5, dtype=torch.uint8)
    assert statistics(memory(images), View(mean=[0.25], std=[0.5]), *images_of()) == ([0.25], [0.5])
    with pytest.raises(ValueError, match="have 3 values, the images 1 channels"):
        statistics(memory(images), View(mean=[0.5] * 3, std=[0.2] * 3), *images_of())


def test_files_give_the_same_values_as_memory_and_are_remembered(make_folder, tmp_path, monkeypatch):
    root = make_folder([f"{i}.png" for i in range(5)])
    settings = {"source": "folder", "root": str(root), "cache_dir": str(tmp_path / "cache")}
    in_memory, on_disk = images_of(**settings), images_of(**settings, in_memory="never")
    expected = statistics(load(*in_memory, "train"), View(), *in_memory)
    assert statistics(load(*on_disk, "train"), View(), *on_disk) == (
        pytest.approx(expected[0], abs=1e-7),
        pytest.approx(expected[1], abs=1e-7),
    )
    monkeypatch.setattr(statistics_module, "_read_moments", lambda *_: pytest.fail("measured again"))
    statistics(load(*on_disk, "train"), View(), *on_disk)
