"""Which picture a sweep gets: what stands along x, what makes a line, what is averaged."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepcluster.visualization.sweep_plot import Point, _constant, _series, choose_axes, draw


def grid(**values: list[object]) -> list[Point]:
    """A run for each combination; keys with __ for dots. Its k-NN accuracy is its number in the grid."""
    keys = [key.replace("__", ".") for key in values]
    return [
        Point(
            values=dict(zip(keys, map(str, chosen), strict=True)),
            numbers={"trained/knn_accuracy": i / 100, "untrained/knn_accuracy": 0.5},
        )
        for i, chosen in enumerate(itertools.product(*values.values()))
    ]


def test_the_numeric_key_with_the_most_values_goes_along_x_and_k_before_others() -> None:
    axes = choose_axes(grid(reduction__dim=[64, 256], clustering__k=[100, 30], seed=[1, 2, 3]))
    assert axes is not None
    assert (axes.x, axes.ticks, axes.places, axes.log) == ("clustering.k", ["30", "100"], [30.0, 100.0], True)
    assert axes.lines == ["reduction.dim"]  # the seed is averaged over
    axes = choose_axes(grid(clustering__k=[100, 30], reduction__dim=[16, 64, 128], sampler=["uniform", "all"]))
    assert axes is not None and (axes.x, axes.lines) == ("reduction.dim", ["clustering.k", "sampler"])


def test_words_stand_beside_each_other_and_a_missing_value_is_the_default() -> None:
    axes = choose_axes(grid(sampler=["uniform", "official"], mode=["correct"]))
    assert axes is not None and (axes.x, axes.places, axes.numeric) == ("sampler", [0.0, 1.0], False)
    mixed = [*grid(clustering__k=[5, 9]), *grid(clustering__k=[5], reduction__dim=[8])]
    axes = choose_axes(mixed)
    assert axes is not None and (axes.x, axes.lines) == ("clustering.k", ["reduction.dim"])
    assert choose_axes(grid(seed=[1])) is None


def test_a_searchs_runs_are_points_without_lines() -> None:
    search = [Point(values={"clustering.k": str(k), "lr": str(1 / k)}, numbers={}) for k in (5, 9, 17, 40)]
    axes = choose_axes(search)
    assert axes is not None and (axes.x, axes.lines, axes.scattered) == ("clustering.k", [], True)


def test_runs_that_differ_in_their_seed_are_one_point_with_its_spread() -> None:
    """By hand: accuracies 0, 1, 2 % have mean 1 and standard deviation 1 over n - 1."""
    points = grid(clustering__k=[5, 10], seed=[1, 2, 3])
    axes = choose_axes(points)
    assert axes is not None
    places, means, spreads = _series(points, axes, "trained/knn_accuracy", 100)
    assert places == [5.0, 10.0] and means == pytest.approx([1, 4]) and spreads == pytest.approx([1, 1])


def test_the_untrained_network_is_one_line_where_only_the_seed_changes_it() -> None:
    points = grid(clustering__k=[5, 10], seed=[1, 2])
    axes = choose_axes(points)
    assert axes is not None and _constant(points, axes, "untrained/knn_accuracy") == 0.5
    assert _constant(points, axes, "trained/knn_accuracy") is None


def test_the_picture_shows_what_was_found(tmp_path: Path) -> None:
    """Other numbers are another picture, and nothing that differs is none."""
    points = grid(clustering__k=[5, 10], seed=[1, 2])
    assert draw(points, tmp_path / "a.png")
    points[0].numbers["trained/knn_accuracy"] = 0.9
    assert draw(points, tmp_path / "b.png")
    first, second = (np.asarray(Image.open(tmp_path / f"{name}.png").convert("L")) for name in "ab")
    assert first.shape == second.shape and (first != second).mean() > 0.001
    assert not draw(grid(seed=[1]), tmp_path / "c.png") and not (tmp_path / "c.png").exists()
