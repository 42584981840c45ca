"""What a folder and so many minutes make of a run."""

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from PIL import Image
from support.configs import CONFIGS

from deepcluster.app.hydra_setup import register
from deepcluster.data.settings import Folder
from deepcluster.run import dial
from deepcluster.run.dial import (
    Budget,
    Look,
    for_epochs,
    for_few,
    most_epochs,
    networks,
    sizes_of_typed,
    stored_side,
    whole,
    with_numbers,
)
from deepcluster.run.parts import build_parts
from deepcluster.run.plan import plan_of
from deepcluster.run.sizes import Plan, sizes
from deepcluster.settings.train import TrainConfig, train_config

ANY: Any = None
PHOTOS = Look(n=1500, n_test=0, height=480, width=640, read_s=0.01, of_one_size=False)


def test_a_network_does_not_enlarge_the_images_much() -> None:
    def told(side: int, *, on_gpu: bool = False) -> list[str]:
        return [str(network) for network in networks(side, on_gpu=on_gpu)]

    assert told(480) == ["vgg_photographs at 160 px", "vgg_photographs at 120 px", "vgg_small at 80 px"]
    assert told(80) == ["vgg_photographs at 120 px", "vgg_small at 80 px"]
    assert told(52) == ["vgg_small at 80 px"]
    assert told(28) == told(8) == ["vgg_small at 40 px"]
    assert told(480, on_gpu=True) == ["resnet18 at 160 px", *told(480)]


def test_images_are_kept_as_squares_where_that_saves_decoding_and_fits() -> None:
    assert stored_side(PHOTOS, 160, 80, 4e9) == 192
    assert stored_side(PHOTOS, 160, 80, 3 * 192 * 192 * 1500 - 1) is None
    assert stored_side(replace(PHOTOS, height=40), 160, 80, 4e9) == 192  # else they would be decoded at each access
    of_one_size = replace(PHOTOS, of_one_size=True)
    assert stored_side(of_one_size, 160, 80, 4e9) == 192
    assert stored_side(replace(of_one_size, height=192), 160, 80, 4e9) is None
    assert stored_side(PHOTOS, 224, 224, 4e9) == 336


def test_a_typed_networks_sizes_begin_with_the_largest_that_enlarges_little() -> None:
    assert sizes_of_typed(32, 160) == [40, 60, 80, 120]
    assert sizes_of_typed(60, 160) == [80, 120]
    assert sizes_of_typed(10, 160) == [40, 60, 80, 120]
    assert sizes_of_typed(103, 160) == sizes_of_typed(20, 32) == sizes_of_typed(8, 32) == []


def test_what_was_spent_before_is_no_longer_left() -> None:
    budget = Budget(minutes=2, started=time.perf_counter() - 30)
    assert budget.left == pytest.approx(1.5, abs=0.05)
    assert budget.limit_s == 0.5 and Budget(minutes=60, started=0.0).limit_s == 2.0


RECIPE = ("experiment=photographs", "data.root=photos")


def settings(*words: str) -> TrainConfig:
    register()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return train_config(compose("train", list(words)))


def test_crops_to_learn_from_have_half_the_side_of_the_images_of_features() -> None:
    """docs/tried.md; another view keeps its own size."""
    assert settings(*RECIPE).view.size == 160
    for network in networks(480, on_gpu=False) + networks(28, on_gpu=False):
        view = settings(*RECIPE, f"view.size={network.size}").view
        assert view.crop_size == network.size / 2
    assert settings(*RECIPE, "view=deepdive_32").view.size == 32


def test_numbers_that_are_chosen_need_no_second_composition() -> None:
    words = ["clustering.k=7", "reduction.dim=15", "other_rows.n_neighbours=7", "reading.stored_size=96"]
    assert with_numbers(settings(*RECIPE), words) == settings(*RECIPE, *words)


def test_few_images_have_few_dimensions_and_neighbours() -> None:
    assert for_few(settings(*RECIPE), 30) == ["reduction.dim=15", "other_rows.dim=15", "other_rows.n_neighbours=7"]
    assert for_few(settings("reduction=none"), 30) == for_few(settings(*RECIPE), 1000) == []


def test_heads_beside_fade_over_the_recipes_share_of_the_epochs() -> None:
    faded = settings(*RECIPE, "trainer.max_epochs=40", "other_rows.fade_epochs=30")
    assert for_epochs(faded, 20) == ["other_rows.fade_epochs=15"]
    assert for_epochs(faded, 1) == ["other_rows.fade_epochs=1"]
    assert for_epochs(settings(), 20) == for_epochs(faded, 0) == []


def test_the_epochs_are_the_most_that_fit_into_the_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "seconds", lambda plan, costs, seen, epochs: 30 + 7.0 * epochs)
    assert most_epochs(ANY, ANY, PHOTOS, minutes=10) == (dial.SHARE * 600 - 30) // 7 == 78
    assert most_epochs(ANY, ANY, PHOTOS, minutes=0.5) == 0
    assert most_epochs(ANY, ANY, PHOTOS, minutes=1000) == dial.MOST_EPOCHS


def test_an_epoch_takes_longer_than_its_steps_do_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    spent = SimpleNamespace(total=100.0, epoch=7.0)
    monkeypatch.setattr(dial, "estimate_seconds", lambda sizes, costs: spent)
    monkeypatch.setattr(dial, "sizes", lambda plan: None)
    monkeypatch.setattr(dial, "whole", lambda plan, seen, max_epochs: None)
    monkeypatch.setattr(dial, "n_cores", lambda: 3)
    assert dial.seconds(ANY, ANY, PHOTOS, 10) == pytest.approx(1500 * 0.01 / 3 + 100 + 10 * 7 * (dial.TRAINED - 1))


def test_a_run_is_counted_from_a_sample_as_from_all_its_images() -> None:
    register()
    small = ["reduction.dim=8", "clustering.k=5", "trainer.max_epochs=7"]

    def plan(*words: str) -> Plan:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = train_config(compose("train", [*small, *words]))
        return plan_of(config, build_parts(config))

    seen = Look(n=900, n_test=450, height=28, width=28, read_s=0.0, of_one_size=True)
    of_all = plan("data.limit=900")
    of_sample = whole(plan("data.limit=120", "trainer.max_epochs=1"), seen, max_epochs=7)
    of_tests = {"n_measured": (0, 0), "n_baselines": 0, "n_seen": 0}
    assert replace(sizes(of_all), **of_tests) == replace(sizes(of_sample), **of_tests)  # type: ignore[arg-type]
    assert sizes(of_sample).n_measured == (900, 450)


def test_a_look_counts_all_images_and_measures_some(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = [(3, 40 + i, 60) for i in range(5)]
    images = SimpleNamespace(read=lambda i: SimpleNamespace(shape=shapes[i]), __len__=lambda: 5)

    class Images(list[int]):
        def read(self, i: int) -> Any:
            return images.read(i)

    monkeypatch.setattr(dial, "load", lambda data, reading, split: Images(range(5)) if split == "train" else None)
    seen = dial.look(ANY, dial.Reading())
    assert (seen.n, seen.n_test, seen.height, seen.width, seen.side) == (5, 0, 42, 60, 42) and not seen.of_one_size
    shapes[:] = [(3, 40, 60)] * 5
    assert dial.look(ANY, dial.Reading()).of_one_size


def test_a_huge_image_that_is_not_among_those_read_counts_in_the_time_of_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 images of 20 x 20 pixels, of which 24 take .1 s each, and one of 4,000 x 4,000; and one that is none."""
    for i in range(101):
        Image.new("L", (4000, 4000) if i == 1 else (20, 20)).save(tmp_path / f"{i:03}.png")
    (tmp_path / "none.png").write_bytes(b"none")
    monkeypatch.setattr(dial.time, "perf_counter", iter((0.0, 2.4)).__next__)
    seen = dial.look(Folder(source="folder", root=str(tmp_path)), dial.Reading())
    assert seen.read_s == pytest.approx(0.1 * (16_040_000 / 101) / 400, rel=0.05)
    assert seen.height == 20 and not seen.of_one_size
