"""The table at the end of a run, as a person reads it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from deepcluster.clustering.kmeans import KMeans
from deepcluster.data.images import MemoryImages
from deepcluster.run.summary import ROWS, checkpoint_sizes, columns, print_summary, rows
from deepcluster.run.train import n_labelled


def summary(untrained: float | None, trained: float | None) -> dict[str, Any]:
    figures: dict[str, Any] = {name: 0.5 for _, name, _ in ROWS} | {"clusters_used": 100.0}
    return {
        "untrained": figures | {"n_repaired": untrained},
        "trained": figures | {"n_repaired": trained},
        "epochs": 3,
        "k": 100,
        "merged_clusters": 0,
        "n_images": 5000,
        "seconds": dict.fromkeys(("features", "reduction", "clustering", "training"), 1.0),
    }


@pytest.mark.parametrize(
    ("untrained", "trained", "cells"),
    [
        (0.0, 7.0, ["100", "100 (7 were empty)"]),
        (None, 0.0, ["100", "100"]),
        (3.0, None, ["100 (3 were empty)", "100"]),
    ],
)
def test_clusters_that_had_ended_empty_are_told_beside_those_used(
    untrained: float | None, trained: float | None, cells: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, Any] = {"source": "x", "clustering": KMeans(k=100), "commands": {}, "is_measured": True}
    print_summary(summary(untrained, trained), Path("run"), **asked)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "clusters used" in line]
    assert [cell.strip() for cell in line.strip("│").split("│")[1:]] == cells


@pytest.mark.parametrize(
    ("epochs", "pretrained", "shown"),
    [
        (3, False, ["untrained", "trained"]),
        (3, True, ["pretrained", "trained"]),
        (0, False, ["untrained"]),
        (0, True, ["pretrained"]),
    ],
)
def test_a_network_that_was_not_trained_is_called_by_its_start(epochs: int, pretrained: bool, shown: list[str]) -> None:
    made = summary(0.0, 0.0) | {"epochs": epochs}
    if pretrained:
        made["pretrained"] = made["untrained"]
    assert columns(made) == shown


def test_large_checkpoints_are_told_with_the_key_that_makes_them_less(tmp_path: Path) -> None:
    def file(name: str, size: float) -> None:
        with (tmp_path / name).open("wb") as stream:
            stream.truncate(int(size))  # sparse: takes no room

    file("final.ckpt", 80e6)
    assert checkpoint_sizes(tmp_path) is None
    file("last.ckpt", 160e6)
    assert "take 0.2 GB: final.ckpt 80 MB, last.ckpt 0.2 GB. To use" in str(checkpoint_sizes(tmp_path))
    file("previous.ckpt", 160e6)
    assert str(checkpoint_sizes(tmp_path)).endswith("; checkpoint.keep_previous=false keeps no previous.ckpt")


def test_accuracies_without_a_test_set_are_told_as_of_held_out_images() -> None:
    titles = [[title for title, *_ in rows(summary(0.0, 0.0) | more)] for more in ({}, {"n_test_images": 9})]
    assert titles[0] == titles[1] and "k-NN accuracy, test images" in titles[0]
    held_out = [title for title, *_ in rows(summary(0.0, 0.0) | {"n_test_images": 0})]
    assert {"k-NN accuracy, held-out images", "linear-probe accuracy, held-out images"} < set(held_out)
    assert len(held_out) == len(titles[0])


def test_test_images_without_labels_count_as_none() -> None:
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    sets = [
        MemoryImages(images=images, samples=["a", "b", "c"], labels=labels)
        for labels in (None, torch.tensor([-1, -1, -1]))
    ]
    assert [n_labelled(None), *map(n_labelled, sets)] == [0, 0, 0]
    assert n_labelled(MemoryImages(images=images, samples=["a", "b", "c"], labels=torch.tensor([0, -1, 1]))) == 2
