"""The picture of initial alignment holds every setting, and numbers do not depend on it."""

import builtins
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from support.evaluated import Said, context, lenet, pictures

from deepcluster.visualization.alignment_chart import draw_alignment
from deepcluster.visualization.alignment_plot import DrawnInitialAlignment


def test_every_setting_has_a_box_of_its_seeds_at_its_k(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"seed": seed, "k": k, "dim": dim, "nmi": k / 100 + seed / 1000 + (dim or 0) / 1000}
        for seed in range(5)
        for dim in (None, 40)
        for k in (5, 10, 20)
    ]
    drawn: list[tuple[list[float], list[list[float]]]] = []
    boxplot = Axes.boxplot

    def spy(axes: Axes, values: Any, **settings: Any) -> Any:
        drawn.append((settings["positions"], values))
        return boxplot(axes, values, **settings)

    monkeypatch.setattr(Axes, "boxplot", spy)
    draw_alignment(rows, tmp_path / "picture.png", title="a title")
    assert (tmp_path / "picture.png").read_bytes()[:4] == b"\x89PNG"
    assert [[round(place) for place in places] for places, _ in drawn] == [[0, 1, 2], [0, 1, 2]]
    assert drawn[0][0][0] < 0 < drawn[1][0][0]  # side by side
    assert drawn[1][1][2] == pytest.approx([0.24 + seed / 1000 for seed in range(5)])


def test_without_matplotlib_the_numbers_are_the_same_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, settings = pictures(60, 0), {"k": [3], "n_seeds": 2}
    whole = DrawnInitialAlignment(**settings).run(context(tmp_path / "a", images, draw=lenet))
    assert (tmp_path / "a" / "initial_alignment.png").is_file()
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError("no matplotlib")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    bare = context(tmp_path / "b", images, draw=lenet)
    assert DrawnInitialAlignment(**settings).run(bare) == whole
    assert isinstance(bare.progress, Said) and "pip install -e '.[viz]'" in bare.progress.lines[-1]
    assert not (tmp_path / "b" / "initial_alignment.png").exists()
