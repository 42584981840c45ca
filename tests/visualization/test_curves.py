"""Curves: what is read from metrics.csv, and what of it stands in the picture."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision.io import decode_image

from deepcluster.training.record import MetricsCSV
from deepcluster.visualization import curves_chart
from deepcluster.visualization.charts import figure
from deepcluster.visualization.curves import Curves
from deepcluster.visualization.run_metrics import distinct_names, metrics_file, read_run


def logged(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """metrics.csv as a run writes it."""
    log = MetricsCSV(folder)
    for row in rows:
        log.log_metrics(row)
    log.save()
    return folder / "metrics.csv"


# The second epoch had no new assignment, and the third has not ended; no labels.
ROWS = [
    {"epoch": 0, "cluster/nmi_previous": 0.5, "cluster/entropy": 0.9, "train/loss": 4.0, "time/training_s": 2.0},
    {"epoch": 1, "train/loss": 3.0, "time/training_s": 1.0},
    {"epoch": 2, "cluster/nmi_previous": 0.7, "cluster/entropy": 0.8},
]


def test_a_run_in_progress_is_read_with_gaps(tmp_path):
    run = read_run(logged(tmp_path, ROWS), "mine")
    assert run.epochs.tolist() == [1, 2, 3]
    assert run.values["cluster/nmi_previous"][[0, 2]].tolist() == [0.5, 0.7]
    assert math.isnan(run.values["cluster/nmi_previous"][1]) and math.isnan(run.values["train/loss"][2])
    assert run.last("train/loss") == 3.0 and run.last("cluster/nmi_labels") is None


def test_lines_bridge_epochs_without_an_assignment_and_leave_out_what_was_not_logged(tmp_path):
    run = read_run(logged(tmp_path, ROWS), "mine")
    axis = figure(2, 2).subplots()
    curves_chart.draw_panel(axis, [run], curves_chart.PANELS[0][1])  # NMI with the last assignment, with labels
    drawn = [line for line in axis.get_lines() if len(line.get_xdata())]
    assert [line.get_xdata().tolist() for line in drawn] == [[1, 3]]
    assert [line.get_ydata().tolist() for line in drawn] == [[0.5, 0.7]]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["with the last assignment"]


def test_phases_stand_on_top_of_each_other(tmp_path):
    rows = [
        {"epoch": e, "time/features_s": 1.0 + e, "time/clustering_s": 0.5, "time/training_s": 4.0} for e in range(3)
    ]
    run = read_run(logged(tmp_path, rows), "mine")
    axis = figure(2, 2).subplots()
    curves_chart.stacked_by_epoch(axis, [run], [0, 2, 3])
    tops = [bar.get_y() + bar.get_height() for bar in axis.patches]
    assert tops == [1.0, 2.0, 3.0, 1.5, 2.5, 3.5, 5.5, 6.5, 7.5]
    axis = figure(2, 2).subplots()
    curves_chart.stacked_by_run(axis, [run, run], [0, 2, 3])
    assert [bar.get_x() + bar.get_width() for bar in axis.patches] == [2.0, 2.0, 2.5, 2.5, 6.5, 6.5]  # medians


def test_side_by_side_a_run_keeps_its_colour_and_its_name(tmp_path):
    first = read_run(logged(tmp_path / "a", ROWS), "a")
    second = read_run(logged(tmp_path / "b", [{**ROWS[0], "cluster/nmi_labels": 0.3}]), "b")
    axis = figure(2, 2).subplots()
    curves_chart.draw_panel(axis, [first, second], curves_chart.PANELS[0][1])
    drawn = [line for line in axis.get_lines() if len(line.get_xdata())]
    assert [line.get_color() for line in drawn] == [curves_chart.LINES[0], curves_chart.LINES[1], curves_chart.LINES[1]]
    assert [line.get_linestyle() for line in drawn] == ["-", "-", "--"]


def test_the_picture_is_written_for_one_run_and_for_many_even_of_one_epoch(tmp_path):
    run = read_run(logged(tmp_path, ROWS[:1]), "mine")
    curves_chart.draw_curves([run], tmp_path / "one.png")
    curves_chart.draw_curves([run] * 9, tmp_path / "nine.png")
    one, nine = decode_image(str(tmp_path / "one.png")), decode_image(str(tmp_path / "nine.png"))
    assert nine.shape[1] > one.shape[1]  # room for nine names
    assert np.unique(one.numpy()).size > 50


def test_folders_are_named_so_that_they_differ():
    assert distinct_names([Path("/runs/a"), Path("/runs/b")]) == ["a", "b"]
    assert distinct_names([Path("/x/run"), Path("/y/run")]) == ["x/run", "y/run"]
    assert distinct_names([Path("/x/run"), Path("/x/run")]) == ["run (1)", "run (2)"]


def test_what_cannot_be_drawn_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"metrics.csv.*evaluation.others"):
        metrics_file(tmp_path)
    broken = tmp_path / "metrics.csv"
    for content in ("a,b\n1,2\n", "epoch,train/loss\n0,low\n", "epoch,x\nfirst,1\n"):
        broken.write_text(content)
        with pytest.raises(ValueError, match=r"is not the metrics\.csv of a run"):
            read_run(metrics_file(tmp_path), "broken")
    broken.write_text("epoch,train/loss\n")
    with pytest.raises(ValueError, match="holds no epoch yet"):
        read_run(broken, "empty")
    broken.write_text("epoch,my/number\n0,1\n")
    with pytest.raises(ValueError, match="hold nothing that could be drawn"):
        curves_chart.draw_curves([read_run(broken, "other")], tmp_path / "curves.png")
    with pytest.raises(ValueError, match=r"evaluation.names must name .* 2 in all"):
        Curves(others=["b"], names=["a"])
