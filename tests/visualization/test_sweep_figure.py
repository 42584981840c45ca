"""A paper's figure from a sweep: its table, its picture, and how runs are ranked."""

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from deepcluster.visualization import sweep_figure
from deepcluster.visualization.sweep_figure import SweepFigure, draw_figure, figure_table, rank_correlation
from deepcluster.visualization.sweep_plot import Point

HALTED = SweepFigure(source="a paper", x="reassign.halt_after", paper={15: 62.0, 30: [60, 70], 50: 65.18})
ALIGNED = SweepFigure(source="a paper", x="untrained/nmi_labels")


def halted(after: int, seed: int, accuracy: float) -> Point:
    return Point(
        values={"reassign.halt_after": str(after), "seed": str(seed), "data.root": "DIR"},
        numbers={"trained/linear_probe_accuracy": accuracy},
    )


def started(k: int, seed: int, alignment: float, accuracy: float) -> Point:
    return Point(
        values={"clustering.k": str(k), "seed": str(seed)},
        numbers={"untrained/nmi_labels": alignment, "trained/linear_probe_accuracy": accuracy},
    )


def test_values_of_a_key_stand_beside_the_papers() -> None:
    """By hand: 60 and 61 % have mean 60.5 and standard deviation 0.7."""
    points = [halted(15, 1, 0.60), halted(15, 2, 0.61), halted(30, 1, 0.625)]
    assert figure_table(points, HALTED) == [
        ["reassign.halt_after", "paper", "linear-probe accuracy (%)", "runs"],
        ["15", "62.0", "60.5 ± 0.7", "2"],
        ["30", "60 to 70", "62.5", "1"],
        ["50", "65.18", "-", "0"],
    ]


def test_other_keys_that_differ_have_columns() -> None:
    points = [halted(15, 1, 0.6), halted(15, 1, 0.7)]
    for point, k in zip(points, "59", strict=True):
        point.values["clustering.k"] = k
    headings, *rows = figure_table(points, HALTED)
    assert headings[:2] == ["reassign.halt_after", "clustering.k"]
    assert [row[:4] for row in rows] == [
        ["15", "5", "62.0", "60.0"],
        ["15", "9", "62.0", "70.0"],
        ["30", "", "60 to 70", "-"],
        ["50", "", "65.18", "-"],
    ]


def test_without_values_of_the_paper_there_is_no_column_for_them() -> None:
    rows = figure_table([halted(15, 1, 0.6)], SweepFigure(source="", x="reassign.halt_after"))
    assert rows == [["reassign.halt_after", "linear-probe accuracy (%)", "runs"], ["15", "60.0", "1"]]


def test_runs_are_ranked_within_a_row_over_all_and_between_rows() -> None:
    alignments = [0.1, 0.2, 0.3, 0.4]
    points = [started(5, seed, x, x) for seed, x in enumerate(alignments)]
    points += [started(9, seed, x + 1, 0.5 - x) for seed, x in enumerate(alignments)]
    rows = {row[0]: row[1:] for row in figure_table(points, ALIGNED)}
    assert rows["K 5"][:3] == ["4", "0.250", "25.0 ± 12.9"] and rows["K 5"][3].startswith("1.00 (")
    assert rows["K 9"][3].startswith("-1.00 (")
    assert rows["all runs"][0] == "8" and rows["middles of the rows above"] == ["2", "0.750", "25.0", "-"]
    one_seed_each = [started(k, 1, x, 1 - x) for k, x in enumerate(alignments)]
    rows = {row[0]: row[1:] for row in figure_table(one_seed_each, ALIGNED)}
    assert rows["K 0"][3] == "-" and rows["all runs"][3].startswith("-1.00")
    assert "middles of the rows above" not in rows  # they are the runs


def test_the_interval_of_a_rank_correlation_is_bonett_and_wrights() -> None:
    """By hand: of five values whose order has one exchange r = 1 - 6 * 2 / (5 * 24) = 0.9, and z = atanh 0.9."""
    half = 1.959964 * math.sqrt((1 + 0.405) / 2)
    expected = (0.9, math.tanh(math.atanh(0.9) - half), math.tanh(math.atanh(0.9) + half))
    assert rank_correlation([1, 2, 3, 4, 5], [1, 2, 3, 5, 4]) == pytest.approx(expected)
    perfect = rank_correlation([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
    assert perfect == pytest.approx((1.0, *expected[1:]))  # a perfect order has the interval of its neighbour
    assert rank_correlation([1, 2, 3, 4, 5], [5, 4, 3, 2, 1]) == pytest.approx((-1.0, -expected[2], -expected[1]))


@pytest.mark.parametrize("wanted", [HALTED, ALIGNED], ids=["key", "number"])
def test_the_picture_shows_what_was_found(wanted: SweepFigure, tmp_path: Path) -> None:
    points = [halted(a, s, a / 100) for a in (15, 30) for s in (1, 2)]
    for number, point in enumerate(points):
        point.numbers["untrained/nmi_labels"] = number / 10
    assert draw_figure(points, wanted, tmp_path / "a.png")
    points[0].numbers["trained/linear_probe_accuracy"] = 0.9
    assert draw_figure(points, wanted, tmp_path / "b.png")
    first, second = (np.asarray(Image.open(tmp_path / f"{name}.png").convert("L")) for name in "ab")
    assert first.shape == second.shape and (first != second).mean() > 0.0005
    assert not draw_figure([Point(values={"seed": "1"}, numbers={})], wanted, tmp_path / "c.png")


def test_the_legend_tells_what_large_marks_are(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(sweep_figure, "save", lambda figure, *_, **__: drawn.append(figure))
    runs = [started(k, s, k / 100 + s / 1000, 0.5 + s / 10) for k in (5, 9) for s in (1, 2, 3)]
    for points, labels in ((runs, ["K 5", "K 9"]), (runs[:3], ["runs"])):
        assert draw_figure(points, ALIGNED, Path("never_written.png"))
        (legend,) = drawn.pop().legends
        assert [text.get_text() for text in legend.get_texts()] == labels
        assert "median x and mean y" in legend.get_title().get_text()


def test_a_figure_of_unknown_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"figure\.y must be one of knn_accuracy, .* got accuracy"):
        SweepFigure(source="", x="clustering.k", y="accuracy")
    with pytest.raises(ValueError, match=r"figure\.x must be a key or one of untrained/nmi_labels, .* got first/nmi"):
        SweepFigure(source="", x="first/nmi")
