"""Draw the metrics of runs in panels. A panel for which no run has values is left out."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from deepcluster.visualization.charts import LINES, SMALL, figure, plain, save
from deepcluster.visualization.run_metrics import RunCurves

# title, curves as (column, name), whether the axis starts at 0
PANELS: list[tuple[str, list[tuple[str, str]], bool]] = [
    ("NMI", [("cluster/nmi_previous", "with the last assignment"), ("cluster/nmi_labels", "with the labels")], True),
    ("share of images", [("cluster/moved_share", "moved"), ("train/accuracy", "pseudo-label predicted")], True),
    ("clusters", [("cluster/clusters_used", "used"), ("cluster/n_repaired", "found empty, repaired")], True),
    ("entropy of sizes (1: all equal)", [("cluster/entropy", "")], False),
    ("largest cluster, share of images", [("cluster/largest_share", "")], True),
    ("objective", [("cluster/objective", "")], False),
    ("training loss", [("train/loss", "")], False),
]
PHASES = [
    ("time/features_s", "features"),
    ("time/reduction_s", "PCA"),
    ("time/clustering_s", "clustering"),
    ("time/training_s", "training"),
]
PHASE_COLOURS = ["#56B4E9", "#CC79A7", "#E69F00", "#8a8f98"]
DASHES = ["-", "--"]  # of a panel's first and second curve, if there are several runs
N_COLUMNS = 4


def draw_curves(runs: list[RunCurves], path: Path) -> None:
    """Draw the curves. One run has a colour for each curve of a panel; of several runs each has its own colour.

    Raises:
        ValueError: if there is nothing to draw.
        ImportError: if matplotlib is missing.
    """
    alone = len(runs) == 1
    panels = [
        (title, drawn, from_zero)
        for title, curves, from_zero in PANELS
        if (drawn := [curve for curve in curves if _logged(runs, curve[0])])
    ]
    phases = [i for i, (column, _) in enumerate(PHASES) if _logged(runs, column)]
    n_panels = len(panels) + bool(phases)
    if n_panels == 0:
        raise ValueError(f"the metrics of {', '.join(run.name for run in runs)} hold nothing that could be drawn")
    n_columns = min(N_COLUMNS, n_panels)
    n_rows = math.ceil(n_panels / n_columns)
    drawing = figure(3.2 * n_columns, 2.6 * n_rows + (0 if alone else 0.22 * math.ceil(len(runs) / 2) + 0.15))
    axes = np.ravel(drawing.subplots(n_rows, n_columns, squeeze=False)).tolist()
    for axis, (title, curves, from_zero) in zip(axes, panels, strict=False):
        draw_panel(axis, runs, curves)
        _tidy(axis, title, from_zero=from_zero)
    if phases:
        (stacked_by_epoch if alone else stacked_by_run)(axes[len(panels)], runs, phases)
    for axis in axes[n_panels:]:
        axis.set_axis_off()
    if not alone:
        _name_runs(drawing, runs)
    save(drawing, path)


def draw_panel(axis: Any, runs: list[RunCurves], curves: list[tuple[str, str]]) -> None:
    """Draw the curves of one panel; a line runs across epochs without a value."""
    alone = len(runs) == 1
    shown = set()
    for i, run in enumerate(runs):
        for j, (column, _) in enumerate(curves):
            values = run.values.get(column, np.full(len(run.epochs), np.nan))
            known = np.isfinite(values)
            if not known.any() or (not alone and j and values[known].max() == 0):
                continue  # with several runs, dashed lines at 0 would only clutter the panel
            shown.add(j)
            axis.plot(
                run.epochs[known],
                values[known],
                "-" if alone else DASHES[j],
                color=LINES[(j if alone else i) % len(LINES)],
                marker="o" if known.sum() == 1 else None,  # a line of one point would be invisible
                markersize=4,
                linewidth=1.6,
            )
    if len(curves) > 1:
        for j in sorted(shown):
            style, colour = ("-", LINES[j]) if alone else (DASHES[j], "#444444")
            axis.plot([], [], style, color=colour, label=curves[j][1])
        axis.legend(frameon=False, fontsize=SMALL - 0.5)


def stacked_by_epoch(axis: Any, runs: list[RunCurves], phases: list[int]) -> None:
    """For one run: a bar for each epoch, its phases stacked."""
    run = runs[0]
    bottom = np.zeros(len(run.epochs))
    for i in phases:
        column, name = PHASES[i]
        seconds = np.nan_to_num(run.values.get(column, bottom))
        axis.bar(run.epochs, seconds, 0.85, bottom=bottom, color=PHASE_COLOURS[i], label=name)
        bottom = bottom + seconds
    _tidy(axis, "seconds by phase", from_zero=True)
    axis.set_ylim(top=1.3 * max(bottom.max(), 1e-9))  # room for the legend
    axis.legend(frameon=False, fontsize=SMALL - 0.5, ncols=2, loc="upper center")


def stacked_by_run(axis: Any, runs: list[RunCurves], phases: list[int]) -> None:
    """For several runs: a bar for each with the median seconds of an epoch, by phase."""
    places = np.arange(len(runs))
    left = np.zeros(len(runs))
    for i in phases:
        column, name = PHASES[i]
        seconds = np.array([_median(run, column) for run in runs])
        axis.barh(places, seconds, 0.7, left=left, color=PHASE_COLOURS[i], label=name)
        left = left + seconds
    _tidy(axis, "seconds of an epoch, median", from_zero=False)
    axis.set(xlabel=None, yticks=places, yticklabels=[" "] * len(runs), ylim=(len(runs) - 0.4, -1.1 - 0.05 * len(runs)))
    axis.tick_params(axis="y", length=0)
    for i, place in enumerate(places):  # the runs' colours stand for their names
        axis.plot(-0.03, place, "s", color=LINES[i % len(LINES)], transform=axis.get_yaxis_transform(), clip_on=False)
    axis.legend(frameon=False, fontsize=SMALL - 0.5, ncols=2, loc="upper center")


def _median(run: RunCurves, column: str) -> float:
    values = run.values.get(column, np.empty(0))
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else 0.0


def _name_runs(drawing: Any, runs: list[RunCurves]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=LINES[i % len(LINES)], linewidth=2, label=run.name) for i, run in enumerate(runs)]
    drawing.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=SMALL)


def _tidy(axis: Any, title: str, *, from_zero: bool) -> None:
    axis.set_title(title, fontsize=10)
    axis.set_xlabel("epoch", fontsize=SMALL)
    axis.xaxis.get_major_locator().set_params(integer=True)
    plain(axis)
    if from_zero:
        axis.set_ylim(bottom=0)


def _logged(runs: list[RunCurves], column: str) -> bool:
    return any(run.last(column) is not None for run in runs)
