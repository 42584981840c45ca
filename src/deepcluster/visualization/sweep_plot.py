"""The picture of a sweep: accuracy and NMI against one key, a line for each value of the others, spread over seeds."""

import math
import statistics
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from deepcluster.visualization.charts import LINES, SMALL, figure, plain, save

SEED = "seed"
NAMES = {
    "clustering.k": "number of clusters K",
    "reduction.dim": "PCA dimension",
    "optimizer.lr": "learning rate",
    "reassign.halt_after": "cycles until clustering halts (null: it does not)",
}
SHORT = {"clustering.k": "K", "reduction.dim": "PCA", "optimizer.lr": "lr"}
PANELS = (  # number, title, factor, title of the axis
    ("knn_accuracy", "k-NN accuracy", 100, "%"),
    ("linear_probe_accuracy", "linear-probe accuracy", 100, "%"),
    ("nmi_labels", "NMI with the labels", 1, ""),
)
WITHOUT_LABELS = (("nmi_previous", "NMI with the last assignment", 1, ""), ("clusters_used", "clusters used", 1, ""))
UNTRAINED = "#777777"
PAPER: dict[str, Any] = {"color": "#000000", "markerfacecolor": "none", "markersize": 6}


@dataclass(kw_only=True)
class Point:
    """One run.

    Args:
        values: the overrides typed for it, key -> value.
        numbers: its results: trained/NAME and untrained/NAME.
    """

    values: dict[str, str]
    numbers: dict[str, float]


@dataclass(kw_only=True)
class Axes:
    """What is drawn along x, and which values make a line; numbers are averaged over seeds.

    Args:
        x: key along the horizontal axis.
        ticks: its values as typed, in order.
        places: where they stand: the numbers themselves, or 0, 1, ... for words.
        log: on a logarithmic scale.
        lines: keys whose values make a line of their own.
        numeric: the values are numbers, so that a line may join them.
        scattered: most runs have values of their own, as in a random search: each is a point, no line.
    """

    x: str
    ticks: list[str]
    places: list[float]
    log: bool
    lines: list[str]
    numeric: bool
    scattered: bool = False


class Line(NamedTuple):
    """The runs that share the values of `Axes.lines`, and their colour."""

    values: tuple[str, ...]
    points: list[Point]
    colour: Any


def swept_keys(points: list[Point]) -> list[str]:
    """The keys whose values differ between runs, as they were typed."""
    keys = dict.fromkeys(key for p in points for key in p.values)
    return [key for key in keys if len(_values(points, key)) > 1]


def choose_axes(points: list[Point], x: str | None = None) -> Axes | None:
    """What stands along x, and what makes a line; None if all runs are alike.

    Args:
        x: a key; None: the numeric key with the most values, K if several have as many.
    """
    keys = swept_keys(points)
    swept = [key for key in keys if key != SEED] or keys
    if not swept:
        return None
    numeric = [key for key in swept if all(_number(value) is not None for value in _values(points, key))]
    if x not in swept:
        x = max(numeric or swept[:1], key=lambda key: (len(_values(points, key)), key == "clustering.k"))
    ticks = _values(points, x)
    if x not in numeric:
        places = [float(i) for i in range(len(ticks))]
        return Axes(x=x, ticks=ticks, places=places, log=False, lines=_without(swept, x), numeric=False)
    ticks.sort(key=float)
    places = [float(tick) for tick in ticks]
    log = x != SEED and places[0] > 0 and (x == "clustering.k" or places[-1] >= 8 * places[0])
    lines = _without(swept, x)
    n_groups = len({tuple(p.values.get(key) for key in lines) for p in points})
    scattered = len(points) >= 4 and n_groups > len(points) / 2  # in a grid a line has at least two points
    if scattered:
        lines = []
    return Axes(x=x, ticks=ticks, places=places, log=log, lines=lines, numeric=True, scattered=scattered)


def draw(
    points: list[Point], file: Path, *, x: str | None = None, only: str | None = None, marks: Mapping[str, Any] = {}
) -> bool:
    """Draw the sweep; a panel for each number that the runs have, a dashed line for the untrained networks.

    Args:
        points: the finished runs.
        file: a PNG file.
        x: see :func:`choose_axes`.
        only: the one number to draw; None: all.
        marks: value of x -> a number or [lowest, highest] from elsewhere to mark in each panel, such as a paper's.

    Returns:
        False if there is nothing to draw: the runs are alike, or have no number that is drawn.

    Raises:
        ImportError: without matplotlib.
    """
    axes = choose_axes(points, x)
    panels = [panel for panel in PANELS if _has(points, panel[0])] or [p for p in WITHOUT_LABELS if _has(points, p[0])]
    panels = [panel for panel in panels if only in (None, panel[0])]
    if axes is None or not panels:
        return False
    groups: dict[tuple[str, ...], list[Point]] = {}
    for point in _in_order(points, axes):
        groups.setdefault(_group(point, axes), []).append(point)
    colours = _colours(list(groups), axes)
    lines = [Line(group, own, colour) for (group, own), colour in zip(groups.items(), colours, strict=True)]
    drawn = figure(max(4.2, 3.1 * len(panels) + 0.3), 3.0 + (0.35 if axes.lines else 0.15))
    flat = drawn.subplots(1, len(panels), squeeze=False)[0]
    for axis, (name, title, factor, unit) in zip(flat, panels, strict=True):
        _panel(axis, axes, lines, _constant(points, axes, f"untrained/{name}"), name, factor)
        _mark(axis, axes, marks)
        axis.set_title(title + (f" ({unit})" if unit else ""), fontsize=10)
        _tidy(axis, axes)
    _legend(drawn, points, axes, lines, marks)
    save(drawn, file, dpi=160)
    return True


def _panel(axis: Any, axes: Axes, lines: list[Line], untrained: float | None, name: str, factor: float) -> None:
    """Draw one number along the axis; `untrained`: its value for untrained networks, if they share one."""
    if untrained is not None:
        axis.axhline(factor * untrained, color=UNTRAINED, linestyle="--", linewidth=1.1, zorder=1)
    for number, line in enumerate(lines):
        if axes.scattered:
            known = [p for p in line.points if f"trained/{name}" in p.numbers]
            places = [float(p.values[axes.x]) for p in known]
            values = [factor * p.numbers[f"trained/{name}"] for p in known]
            axis.plot(places, values, "o", color=line.colour, markersize=4, zorder=4)
            continue
        if untrained is None:
            places, means, _ = _series(line.points, axes, f"untrained/{name}", factor)
            axis.plot(places, means, "--", color=line.colour, linewidth=1.1, alpha=0.8, zorder=2)
        places, means, spreads = _series(line.points, axes, f"trained/{name}", factor)
        places = _beside(places, axes, number=number, n=len(lines))
        style = "-o" if axes.numeric else "o"
        axis.plot(places, means, style, color=line.colour, linewidth=1.7, markersize=4, zorder=4)
        if any(spreads):
            axis.errorbar(places, means, spreads, fmt="none", ecolor=line.colour, elinewidth=1.1, capsize=2.5, zorder=3)


def _mark(axis: Any, axes: Axes, marks: Mapping[str, Any]) -> None:
    """Mark values from elsewhere at their ticks."""
    for tick, place in zip(axes.ticks, axes.places, strict=True):
        if tick in marks:
            ends = marks[tick] if isinstance(marks[tick], list) else [marks[tick]]
            axis.plot([place] * len(ends), ends, "-D", **PAPER, linewidth=1, zorder=5)


def _beside(places: list[float], axes: Axes, *, number: int, n: int) -> list[float]:
    """The places of one of n lines, moved a little so that the error bars do not hide each other."""
    low, high = axes.places[0], axes.places[-1]
    step = (number - (n - 1) / 2) * min(0.012, 0.06 / n)
    if axes.log:
        return [place * (high / low) ** step for place in places]
    return [place + step * (high - low) * (1 if axes.numeric else 4) for place in places]


def _series(points: list[Point], axes: Axes, name: str, factor: float) -> tuple[list[float], list[float], list[float]]:
    """Places, means and standard deviations (0 for one run) where there are runs with this number."""
    places, means, spreads = [], [], []
    for tick, place in zip(axes.ticks, axes.places, strict=True):
        at_tick = (p for p in points if p.values.get(axes.x, "default") == tick)
        numbers = [factor * p.numbers[name] for p in at_tick if name in p.numbers]
        if numbers:
            places.append(place)
            means.append(statistics.mean(numbers))
            spreads.append(statistics.stdev(numbers) if len(numbers) > 1 else 0.0)
    return places, means, spreads


def _constant(points: list[Point], axes: Axes, name: str) -> float | None:
    """The mean of a number that depends on the seed alone, such as the accuracy of untrained networks; else None."""
    by_seed: dict[str | None, list[float]] = {}
    for p in points:
        if name in p.numbers:
            by_seed.setdefault(p.values.get(SEED) if axes.x != SEED else None, []).append(p.numbers[name])
    if not by_seed or any(max(numbers) - min(numbers) > 1e-9 for numbers in by_seed.values()):
        return None
    return statistics.mean(numbers[0] for numbers in by_seed.values())


def _tidy(axis: Any, axes: Axes) -> None:
    from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator, StrMethodFormatter

    if axes.log:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
    many = axes.scattered or len(axes.ticks) > 10
    if not (many and axes.numeric):
        axis.xaxis.set_major_locator(FixedLocator(axes.places))
        axis.set_xticklabels(axes.ticks, rotation=0 if sum(map(len, axes.ticks)) < 36 else 30)
        axis.xaxis.set_minor_locator(NullLocator())
    if not axes.numeric:
        axis.set_xlim(-0.5, len(axes.ticks) - 0.5)
    axis.set_xlabel(NAMES.get(axes.x, axes.x), fontsize=9.5)
    plain(axis)
    axis.margins(y=0.08)


def _legend(drawn: Any, points: list[Point], axes: Axes, lines: list[Line], marks: Mapping[str, Any]) -> None:
    from matplotlib.lines import Line2D

    handles: list[Any] = []
    if axes.lines:
        for line in lines:
            values = ", ".join(
                f"{SHORT.get(k, k.rpartition('.')[2])} {v}" for k, v in zip(axes.lines, line.values, strict=True)
            )
            handles.append(Line2D([], [], color=line.colour, linewidth=1.7, marker="o", markersize=4, label=values))
    if any(name.startswith("untrained/") for p in points for name in p.numbers):
        handles.append(Line2D([], [], color=UNTRAINED, linestyle="--", linewidth=1.1, label="untrained"))
    if any(tick in marks for tick in axes.ticks):
        handles.append(Line2D([], [], linewidth=0, marker="D", label="the paper", **PAPER))
    n_seeds = len({p.values[SEED] for p in points if SEED in p.values}) if axes.x != SEED else 0
    if n_seeds > 1:
        bar = drawn.axes[0].errorbar([], [], yerr=[], fmt="none", ecolor=UNTRAINED, elinewidth=1.1, capsize=2.5)
        bar.set_label(f"± sd over {n_seeds} seeds")
        handles.append(bar)
    if handles:
        columns = legend_columns([str(handle.get_label()) for handle in handles], width=drawn.get_figwidth())
        rows = math.ceil(len(handles) / columns)
        drawn.set_figheight(drawn.get_figheight() + 0.19 * (rows - 1))
        drawn.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=SMALL + 0.5)


def legend_columns(labels: Collection[str], *, width: float) -> int:
    """How many columns of a legend with these labels a figure of so many inches holds."""
    return max(1, min(len(labels), int(12.5 * width / (max(map(len, labels)) + 7))))


def _colours(groups: list[tuple[str, ...]], axes: Axes) -> list[Any]:
    """From light to dark along the values of one numeric key; else colours that are easy to tell apart."""
    if len(axes.lines) == 1 and len(groups) > 1 and all(_number(group[0]) is not None for group in groups):
        from matplotlib import colormaps

        scale = colormaps["viridis"]
        return [scale(0.85 - 0.75 * i / (len(groups) - 1)) for i in range(len(groups))]
    return [LINES[i % len(LINES)] for i in range(len(groups))]


def _group(point: Point, axes: Axes) -> tuple[str, ...]:
    return tuple(point.values.get(key, "default") for key in axes.lines)


def _in_order(points: list[Point], axes: Axes) -> list[Point]:
    """By the values of the lines' keys: numbers by size, words as they came."""
    return sorted(points, key=lambda p: [(_number(v) is None, _number(v) or 0.0) for v in _group(p, axes)])


def _values(points: Iterable[Point], key: str) -> list[str]:
    return list(dict.fromkeys(p.values.get(key, "default") for p in points))


def _has(points: list[Point], name: str) -> bool:
    return any(f"trained/{name}" in p.numbers for p in points)


def _without(keys: list[str], x: str) -> list[str]:
    return [key for key in keys if key not in (x, SEED)]


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
