"""What a run is built of, and the lines that say it."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hydra import compose, initialize_config_dir
from support.configs import CONFIGS

from deepcluster.app import command_line
from deepcluster.run.parts import Parts, build_parts
from deepcluster.settings.train import train_config

SMALL = ["data.limit=60", "clustering.k=5", "reduction.dim=8", "trainer.accelerator=cpu", "trainer.precision=32-true"]


@pytest.fixture(scope="module")
def parts() -> Iterator[Parts]:
    command_line.register()
    with initialize_config_dir(str(CONFIGS), version_base="1.3", job_name="test"):
        yield build_parts(train_config(compose("train", SMALL)))


def test_building_says_nothing_and_describing_says_what_was_built(
    parts: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = parts.describe("fashion_mnist_mini", batch_size=16, n_processes=1)
    assert capsys.readouterr().out == ""
    assert lines[0] == "images     fashion_mnist_mini: 60 to learn from, 60 to test, in memory"
    assert [line.split()[0] for line in lines] == ["images", "network", "clustering", "precision"]
    assert f"1x32x32 -> {parts.backbone.feature_dim} features" in lines[1]


def test_several_processes_are_described_with_their_common_step(parts: Parts) -> None:
    lines = parts.describe("fashion_mnist_mini", batch_size=16, n_processes=3)
    assert lines[2] == "processes  3, each with batches of 16: steps of 48 images"
    assert ", on the first process (" in lines[3] or ", on all 3 processes, each with its share (" in lines[3]


def test_of_many_broken_images_five_are_named(parts: Parts) -> None:
    broken = replace(parts.images, skipped=[(f"{i}.png", "cut short") for i in range(7)])
    lines = replace(parts, images=broken).describe("folder", batch_size=16, n_processes=1)[-6:]
    assert lines[0] == "left out   0.png: cut short" and lines[-1] == "left out   ... 7 broken images in all"
