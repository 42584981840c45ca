"""A paper's figure from a sweep: its picture, and a table with the paper's values beside those of the runs.

A sweep's file asks for it (hydra.callbacks.sweep_table.figure, see configs/sweep/). sweep_plot.py draws what a figure
has in common with every sweep.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepcluster.system.tables import mean_and_spread
from deepcluster.visualization.charts import LINES, SMALL, figure, plain, save
from deepcluster.visualization.sweep_plot import PANELS, SEED, SHORT, Point, draw, legend_columns, swept_keys

MEASURED = {  # numbers of a run that can stand along x -> title of the axis
    "untrained/nmi_labels": "initial alignment: NMI with the labels, untrained",
    "first/nmi_labels": "NMI with the labels of the first clusters that are learned",
}
FEWEST = 4  # runs for a rank correlation
NORMAL_95 = 1.959964
LARGE = "large: median x and mean y of the runs of its colour"


@dataclass(kw_only=True)
class SweepFigure:
    """What a sweep's file says of the figure that it repeats.

    Args:
        source: paper, figure, network and images.
        x: what stands along x: a key, such as clustering.k, or a number of the runs, one of MEASURED. Of a key each
            value is a point, averaged over seeds; of a number each run.
        y: a number of the trained network, one of PANELS.
        paper: value of x -> the paper's y, a number or [lowest, highest], in the unit of the axis.
        experiment: the preset of whose network and images `paper` is; empty: of any.
        claim: what the paper says of it, in words.
    """

    source: str
    x: str
    y: str = "linear_probe_accuracy"
    paper: dict[Any, Any] = field(default_factory=dict)
    experiment: str = ""
    claim: str = ""

    def __post_init__(self) -> None:
        if self.y not in [name for name, *_ in PANELS]:
            raise ValueError(f"figure.y must be one of {', '.join(name for name, *_ in PANELS)}, got {self.y}")
        if self.is_measured and self.x not in MEASURED:
            raise ValueError(f"figure.x must be a key or one of {', '.join(MEASURED)}, got {self.x}")
        self.paper = {str(x): y for x, y in self.paper.items()}

    @property
    def is_measured(self) -> bool:
        """Whether x is a number of the runs and no key."""
        return "/" in self.x

    @property
    def panel(self) -> tuple[str, str, float, str]:
        """Name, title, factor and unit of y."""
        return next(panel for panel in PANELS if panel[0] == self.y)

    @property
    def title(self) -> str:
        """Of y, with its unit."""
        _, title, _, unit = self.panel
        return title + f" ({unit})" * bool(unit)

    def places(self, point: Point) -> tuple[float, float] | None:
        """(x, y) of a run, where x is a number; None if it lacks one."""
        x, y = point.numbers.get(self.x), point.numbers.get(f"trained/{self.y}")
        return None if x is None or y is None else (x, self.panel[2] * y)


def draw_figure(points: list[Point], wanted: SweepFigure, file: Path) -> bool:
    """Draw the figure; False if no run has its numbers.

    Raises:
        ImportError: without matplotlib.
    """
    if not wanted.is_measured:
        return draw(points, file, x=wanted.x, only=wanted.y, marks=wanted.paper)
    groups = _groups(points, wanted)
    if not groups:
        return False
    drawn = figure(5.4, 4.0)
    axis = drawn.subplots()
    for number, (name, places) in enumerate(groups.items()):
        xs, ys = zip(*places, strict=True)
        colour = LINES[number % len(LINES)]
        marker = "osD^vPX"[number // len(LINES) % 7]
        axis.plot(xs, ys, marker, color=colour, markersize=4, alpha=0.6, linewidth=0)
        axis.plot(*_middle(places), marker, color=colour, markersize=9, markeredgecolor="white", label=name or "runs")
    axis.set_xlabel(MEASURED[wanted.x], fontsize=9.5)
    axis.set_ylabel(wanted.title, fontsize=9.5)
    plain(axis)
    columns = legend_columns(groups, width=drawn.get_figwidth())
    drawn.set_figheight(drawn.get_figheight() + 0.19 * math.ceil(len(groups) / columns))
    drawn.legend(
        loc="outside lower center", ncols=columns, frameon=False, fontsize=SMALL, title=LARGE, title_fontsize=SMALL
    )
    save(drawn, file, dpi=160)
    return True


def figure_table(points: list[Point], wanted: SweepFigure) -> list[list[str]]:
    """The figure as a table: its headings, then its rows.

    Of a key along x: a row for each value of it and of the other keys that differ. Of a number: a row for each value of
    the keys that differ, with the runs' rank correlation of x and y, and rows for all runs and for these rows' middles.
    """
    factor = wanted.panel[2]
    if not wanted.is_measured:
        others = [key for key in swept_keys(points) if key not in (wanted.x, SEED)]
        rows = [[wanted.x, *others, "paper", wanted.title, "runs"], *_rows_of_key(points, wanted, others)]
        return rows if wanted.paper else [[*row[:-3], *row[-2:]] for row in rows]
    rows = [["", "runs", "median x", wanted.title, "rank correlation (95 %)"]]
    groups = _groups(points, wanted)
    rows += [[name or "each run", *_cells(places, factor)] for name, places in groups.items()]
    if len(groups) > 1:
        whole = [place for places in groups.values() for place in places]
        rows.append(["all runs", *_cells(whole, factor)])
        if len(whole) > len(groups):
            middles = [_middle(places) for places in groups.values()]
            rows.append(["middles of the rows above", *_cells(middles, factor)])
    return rows


def _rows_of_key(points: list[Point], wanted: SweepFigure, others: list[str]) -> list[list[str]]:
    name, _, factor, _ = wanted.panel
    values: dict[tuple[str, ...], list[float]] = {}
    for point in points:
        if f"trained/{name}" in point.numbers:
            place = tuple(point.values.get(key, "default") for key in (wanted.x, *others))
            values.setdefault(place, []).append(factor * point.numbers[f"trained/{name}"])
    rows = [
        [*place, _told(wanted.paper.get(place[0])), mean_and_spread(found, _form(factor)), str(len(found))]
        for place, found in values.items()
    ]
    of_paper = {x: y for x, y in wanted.paper.items() if x not in {row[0] for row in rows}}
    return rows + [[x, *([""] * len(others)), _told(y), "-", "0"] for x, y in of_paper.items()]


def _groups(points: list[Point], wanted: SweepFigure) -> dict[str, list[tuple[float, float]]]:
    """The values of the keys that differ besides the seed -> (x, y) of each run that has both."""
    keys = [key for key in swept_keys(points) if key != SEED]
    groups: dict[str, list[tuple[float, float]]] = {}
    for point in points:
        group = groups.setdefault(_named(point, keys), [])
        if (place := wanted.places(point)) is not None:
            group.append(place)
    return {name: places for name, places in groups.items() if places}


def _middle(places: list[tuple[float, float]]) -> tuple[float, float]:
    """The median x and the mean y."""
    return statistics.median(x for x, _ in places), statistics.mean(y for _, y in places)


def _named(point: Point, keys: Sequence[str]) -> str:
    return ", ".join(f"{SHORT.get(key, key)} {point.values.get(key, 'default')}" for key in keys)


def _cells(places: list[tuple[float, float]], factor: float) -> list[str]:
    xs, ys = zip(*places, strict=True)
    y = mean_and_spread(list(ys), _form(factor))
    return [str(len(places)), f"{statistics.median(xs):.3f}", y, correlation_told(xs, ys)]


def _form(factor: float) -> str:
    return "{:.1f}" if factor == 100 else "{:.3f}"


def correlation_told(x: Sequence[float], y: Sequence[float]) -> str:
    """The rank correlation and its interval; "-" for fewer than four runs or values that are all alike."""
    if len(x) < FEWEST or len(set(x)) == 1 or len(set(y)) == 1:
        return "-"
    return "{:.2f} ({:.2f} to {:.2f})".format(*rank_correlation(x, y))


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """Spearman's rank correlation and its 95 % interval (Bonett and Wright 2000, by Fisher's z).

    A perfect order, whose interval would have no width, is taken for one in which two neighbours are exchanged.

    Args:
        x, y: at least four values each, not all alike.
    """
    from scipy.stats import spearmanr

    n = len(x)
    r = float(spearmanr(x, y).statistic)
    most = 1 - 12 / (n**3 - n)
    inner = max(-most, min(most, r))
    z, half = math.atanh(inner), NORMAL_95 * math.sqrt((1 + inner**2 / 2) / (n - 3))
    return r, math.tanh(z - half), math.tanh(z + half)


def _told(paper: Any) -> str:
    """The paper's value as text."""
    if paper is None:
        return "-"
    return f"{paper[0]} to {paper[1]}" if isinstance(paper, list) else str(paper)
