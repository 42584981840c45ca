"""Draw an embedding: points coloured by cluster or by label, and a mosaic of thumbnails."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepcluster.data.images import ImageSet
from deepcluster.evaluation.clusters.clustered_images import clusters_origin
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.visualization.charts import UNKNOWN, colours, figure, save
from deepcluster.visualization.sample_space import Sample
from deepcluster.visualization.thumbnails import magnified, thumbnail_size, thumbnails
from deepcluster.visualization.tiles import as_picture, save_picture

MOST_NAMED = 40  # most classes in a legend; most clusters with their number beside them
INCHES = 8.0
LARGEST_THUMBNAIL = 48  # pixels of its side
LEAST_PIXELS = 1200  # of the mosaic's side: small thumbnails are magnified


def check_library() -> None:
    """Raise ImportError now, before anything long, if matplotlib is missing."""
    figure(1, 1)


def write_pictures(
    context: EvaluationContext,
    images: ImageSet,
    sample: Sample,
    points: NDArray[np.float64],
    *,
    title: str,
    n_thumbnails: int,
) -> None:
    """Write embedding_clusters.png, embedding_labels.png and embedding_thumbnails.png.

    The first needs clusters, the second labels; else they are left out.

    Args:
        points: (n, 2), of the sample.
        title: how many images, and which method.
        n_thumbnails: thumbnails along each side of the mosaic; 0: no mosaic.
    """
    files = []
    if sample.clusters is not None:
        assert context.stored.assignment is not None
        by = f"coloured by cluster ({context.stored.assignment.k:,}, {clusters_origin(sample.own)})"
        files.append(context.folder / "embedding_clusters.png")
        by_cluster(points, sample.clusters.numpy(), f"{title}, {by}", files[-1])
    if sample.labels is not None:
        names = images.classes or [str(c) for c in range(int(sample.labels.max()) + 1)]
        files.append(context.folder / "embedding_labels.png")
        by_label(points, sample.labels.numpy(), names, f"{title}, coloured by label", files[-1])
    if n_thumbnails:
        places = thin(points, n_thumbnails)
        shown = sample.indices[torch.tensor([point for point, _, _ in places])]
        size = thumbnail_size(images, LARGEST_THUMBNAIL)
        with context.progress.bar("thumbnails", len(shown), "img") as advance:
            pictures = [picture for _, picture in thumbnails(context, images, shown, size, advance)]
        files.append(context.folder / "embedding_thumbnails.png")
        mosaic(pictures, [(row, column) for _, row, column in places], files[-1])
    for file in files:
        context.progress.say(f"picture    {file}")


def by_cluster(plane: NDArray[np.float64], clusters: NDArray[np.int64], title: str, path: Path) -> None:
    """Draw points (n, 2) in the colours of their clusters (n,), with the numbers of the largest clusters."""
    drawing, axis = _empty(title, plane)
    palette = colours(int(clusters.max()) + 1)
    _points(axis, plane, palette[clusters])
    numbers, sizes = np.unique(clusters, return_counts=True)
    for number in numbers[np.argsort(-sizes, kind="stable")][:MOST_NAMED]:
        _name(axis, plane[clusters == number], str(number), palette[number] * 0.6)
    save(drawing, path)


def by_label(plane: NDArray[np.float64], labels: NDArray[np.int64], names: list[str], title: str, path: Path) -> None:
    """Draw points (n, 2) in the colours of their labels (n,), with a legend; light grey for label -1."""
    present = [c for c in range(len(names)) if (labels == c).any()]
    in_legend = len(present) <= MOST_NAMED
    n_columns = math.ceil(len(present) / 30)
    longest = max((len(names[c]) for c in present), default=0)
    legend = n_columns * (0.5 + 0.085 * min(longest, 30)) if in_legend else 0.0  # inches
    drawing, axis = _empty(title, plane, beside=legend)
    palette = colours(len(names))
    rgb = np.full((len(plane), 3), int(UNKNOWN[1:3], 16) / 255)
    rgb[labels >= 0] = palette[labels[labels >= 0]]
    _points(axis, plane, rgb)
    if in_legend:
        for c in present:
            axis.plot([], [], "o", color=palette[c], markersize=6, label=_short(names[c]))
        if (labels < 0).any():
            axis.plot([], [], "o", color=UNKNOWN, markersize=6, label="no label")
        drawing.legend(loc="outside right center", ncols=n_columns, frameon=False, fontsize=10, handletextpad=0.2)
    else:
        for c in present:
            _name(axis, plane[labels == c], _short(names[c]), palette[c] * 0.6)
    save(drawing, path)


def _short(name: str) -> str:
    text = name if len(name) <= 30 else f"{name[:28]}..."
    return text.replace("$", r"\$").lstrip("_") or "?"  # matplotlib reads $ as mathematics, _ as "not in the legend"


def _empty(title: str, plane: NDArray[np.float64], beside: float = 0.0) -> tuple[Any, Any]:
    """A figure and axis with about the points' aspect ratio; `beside`: inches for a legend at the right."""
    width, height = np.ptp(plane, axis=0)
    shape = float(np.clip(width / max(height, 1e-12), 0.8, 1.6))
    drawing = figure(INCHES * shape + beside, INCHES + 0.4)
    axis = drawing.subplots()
    axis.set_title(title, fontsize=11)
    axis.set_axis_off()
    axis.set_aspect("equal", adjustable="datalim")
    axis.margins(0.02)
    return drawing, axis


def _points(axis: Any, plane: NDArray[np.float64], rgb: NDArray[np.float64]) -> None:
    order = np.random.default_rng(0).permutation(len(plane))  # random, so that no class covers all others
    side = float(np.clip(240 / math.sqrt(len(plane)), 1.2, 7))
    axis.scatter(plane[order, 0], plane[order, 1], s=side**2, c=rgb[order], linewidths=0, alpha=0.85)


def _name(axis: Any, points: NDArray[np.float64], text: str, colour: NDArray[np.float64]) -> None:
    """Write a name at the point nearest to the points' median, so that it stands among its own points."""
    from matplotlib.patheffects import withStroke

    middle = np.median(points, axis=0)
    x, y = points[np.square(points - middle).sum(1).argmin()]
    halo = withStroke(linewidth=2.5, foreground="white")
    axis.text(x, y, text, color=colour, fontsize=8, weight="bold", ha="center", va="center", path_effects=[halo])


def thin(plane: NDArray[np.float64], n_cells: int) -> list[tuple[int, int, int]]:
    """Choose at most one point for each cell of a square grid: the one nearest to the cell's middle.

    Args:
        plane: (n, 2).
        n_cells: cells along each side of the smallest square that holds all points.

    Returns:
        (point, row from the top, column) of the chosen points, sorted by row and column.
    """
    low, high = plane.min(0), plane.max(0)
    side = max(float((high - low).max()), 1e-12)
    place = (plane - (low + high) / 2) / side + 0.5  # in [0, 1]; the longer axis fills it
    place[:, 1] = 1 - place[:, 1]  # pictures count rows from the top
    cells = np.minimum((place * n_cells).astype(np.int64), n_cells - 1)
    distance = np.square(place * n_cells - cells - 0.5).sum(1)
    nearest: dict[tuple[int, int], int] = {}
    for point in np.argsort(distance, kind="stable").tolist():
        nearest.setdefault((int(cells[point, 1]), int(cells[point, 0])), point)
    return [(point, row, column) for (row, column), point in sorted(nearest.items())]


def mosaic(pictures: list[Tensor], cells: list[tuple[int, int]], path: Path) -> None:
    """Write thumbnails uint8 (3, S, S) at their cells (row, column) on white, side by side."""
    rows, columns = [row for row, _ in cells], [column for _, column in cells]
    top, left = min(rows), min(columns)
    n_rows, n_columns = max(rows) - top + 1, max(columns) - left + 1
    size = pictures[0].shape[-1]
    factor = max(1, round(LEAST_PIXELS / (max(n_rows, n_columns) * size)))
    pitch = factor * size + factor  # a thin white line between neighbours
    canvas = torch.full((3, n_rows * pitch + factor, n_columns * pitch + factor), 255, dtype=torch.uint8)
    for picture, row, column in zip(pictures, rows, columns, strict=True):
        y, x = factor + (row - top) * pitch, factor + (column - left) * pitch
        canvas[:, y : y + factor * size, x : x + factor * size] = magnified(picture, factor)
    whole = as_picture(canvas)
    if torch.equal(canvas[0], canvas[1]) and torch.equal(canvas[0], canvas[2]):
        whole = whole.convert("L")  # half the bytes
    save_picture(whole, path)
