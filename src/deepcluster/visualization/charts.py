"""Shared by all charts: matplotlib figures without pyplot's global state, colours, plain axes."""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepcluster.system.atomic import write_atomically
from deepcluster.system.extras import install_extra

# Okabe and Ito's colours, safe for colour-blind people, without the yellow, which is too pale for a line.
LINES = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#444444"]
# Twenty colours for areas and points.
POINTS = [
    "#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e", "#9498a0",
    "#1b3a93", "#8a6100", "#b0321d", "#1f7f6c", "#c6e06a", "#b2417a", "#5c1fb0", "#00a3d9", "#d9a679", "#222222",
]  # fmt: skip
UNKNOWN = "#d0d0d0"  # images without a label
DPI = 110
SMALL = 8.5  # font size at the axes, in points


def figure(width: float, height: float) -> Any:
    """An empty matplotlib figure; width and height in inches.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"charts need an extra: {install_extra('viz')} ({error})") from error
    drawn = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(drawn)
    return drawn


def save(drawn: Any, path: Path, *, dpi: int = DPI) -> None:
    """Write a figure as PNG, whole or not at all."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # letters without a glyph become boxes
        drawn.savefig(content, format="png", dpi=dpi)
    write_atomically(path, content.getvalue())


def plain(axis: Any) -> None:
    """Give an axis a light grid, small numbers, and no frame at the top and the right."""
    axis.tick_params(labelsize=SMALL)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.set_axisbelow(True)


def colours(n: int) -> NDArray[np.float64]:
    """n colours (n, 3) in [0, 1] for points: from `POINTS`, or if more are needed, computed hues.

    Consecutive colours are far apart on the colour circle (golden angle) and differ in lightness.
    """
    if n <= len(POINTS):
        return np.array([[int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)] for code in POINTS[:n]]).reshape(n, 3)
    number = np.arange(n)
    hue = number * 0.61803398875 % 1
    value, saturation = np.array([0.85, 0.55, 0.95])[number % 3], np.array([0.85, 0.75, 0.5])[number % 3]
    around = (hue[:, None] * 6 + np.array([5, 3, 1])) % 6  # HSV to RGB, all at once
    rgb: NDArray[np.float64] = value[:, None] * (
        1 - saturation[:, None] * np.clip(np.minimum(around, 4 - around), 0, 1)
    )
    return rgb
