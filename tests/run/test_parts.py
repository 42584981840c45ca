"""What a run is built of, and the lines that say it."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from hydra import compose, initialize_config_dir
from support.configs import CONFIGS

from deepcluster.app.hydra_setup import register
from deepcluster.data.images import MemoryImages
from deepcluster.data.multi_crop import multi_crop
from deepcluster.data.view_settings import SmallCrops, View
from deepcluster.models.lenet import LeNet5
from deepcluster.models.resnet import resnet
from deepcluster.run.parts import Parts, build_parts, crops_for
from deepcluster.settings.train import train_config

SMALL = ["data.limit=60", "clustering.k=5", "reduction.dim=8", "trainer.accelerator=cpu", "trainer.precision=32-true"]


@pytest.fixture(scope="module")
def parts() -> Iterator[Parts]:
    register()
    with initialize_config_dir(str(CONFIGS), version_base="1.3", job_name="test"):
        yield build_parts(train_config(compose("train", SMALL)))


def test_building_says_nothing_and_describing_says_what_was_built(
    parts: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = parts.describe("fashion_mnist_mini", batch_size=16, n_processes=1)
    assert capsys.readouterr().out == ""
    assert lines[0] == "images     fashion_mnist_mini: 60 to learn from, 60 to test, in memory"
    assert [line.split()[0] for line in lines] == ["images", "network", "clustering", "precision"]
    assert lines[1].endswith(f"1x32x32 -> {parts.backbone.feature_dim} features")
    smaller = replace(parts, train_view=multi_crop(View(train_size=24), parts.images, [0.5], [0.5]), crop_size=24)
    told = smaller.describe("fashion_mnist_mini", batch_size=16, n_processes=1)[1]
    assert told == f"{lines[1]}, learns from crops of 24x24"
    told = replace(parts, crop_size=24).describe("fashion_mnist_mini", batch_size=16, n_processes=1)[1]
    assert told == f"{lines[1]}, learns from crops of 32x32, as it cannot take view.train_size=24"


def test_several_processes_are_described_with_their_common_step(parts: Parts) -> None:
    lines = parts.describe("fashion_mnist_mini", batch_size=16, n_processes=3)
    assert lines[2] == "processes  3, each with batches of 16: steps of 48 images"
    assert ", on the first process (" in lines[3] or ", on all 3 processes, each with its share (" in lines[3]


def test_of_many_broken_images_five_are_named(parts: Parts) -> None:
    broken = replace(parts.images, skipped=[(f"{i}.png", "cut short") for i in range(7)])
    lines = replace(parts, images=broken).describe("folder", batch_size=16, n_processes=1)[-6:]
    assert lines[0] == "left out   0.png: cut short" and lines[-1] == "left out   ... 7 broken images in all"


def test_photographs_in_the_default_network_are_told_what_suits_them(parts: Parts) -> None:
    photographs = MemoryImages(images=torch.zeros(4, 1, 375, 500, dtype=torch.uint8), samples=list("abcd"))

    def said(of: Parts) -> list[str]:
        lines = replace(of, images=photographs).describe("folder", batch_size=16, n_processes=1)
        return [line for line in lines if "experiment=photographs" in line]

    told = "they are 500x375 px, the network sees view.size=32: for photographs, experiment=photographs suits better"
    assert said(parts) == [f"images     {told}"]
    assert not said(replace(parts, card={**parts.card, "image_size": 128}))
    assert not said(replace(parts, card={**parts.card, "arch": {"_target_": "deepcluster.models.resnet.resnet"}}))


def test_small_crops_that_the_network_cannot_take_are_refused_with_the_ways_out() -> None:
    view = View(size=32, n_large=2, small=SmallCrops(n=2))
    with pytest.raises(ValueError, match=r"view.small.size=14 .*set view.small.size=32, .*arch=resnet18.*n=0"):
        crops_for(LeNet5(1, 32), view)
    for fits in (replace(view, small=SmallCrops(n=2, size=32)), replace(view, small=SmallCrops())):
        assert crops_for(LeNet5(1, 32), fits) == fits
    assert crops_for(resnet("resnet18", in_channels=1, image_size=32), view) == view


def test_a_network_of_one_size_learns_from_crops_of_it_others_from_the_size_that_is_asked_for() -> None:
    view = View(size=32, train_size=24)
    assert crops_for(LeNet5(1, 32), view) == View(size=32)
    with pytest.raises(ValueError, match=r"view.small.size=14 does not"):  # 0.43 of 32, not of 24
        crops_for(LeNet5(1, 32), replace(view, small=SmallCrops(n=2)))
    assert crops_for(resnet("resnet18", in_channels=1, image_size=32), view) == view
