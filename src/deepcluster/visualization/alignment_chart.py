"""Draw initial alignment: the distribution of NMI over untrained networks, for every K and PCA dimension."""

from pathlib import Path
from typing import Any

import torch

from deepcluster.system.seeding import generator
from deepcluster.visualization.charts import figure, save

COLOURS = (
    "#4477AA",
    "#EE6677",
    "#228833",
    "#CCBB44",
    "#66CCEE",
    "#AA3377",
)  # Paul Tol's "bright" scheme, safe for colour-blind people


def draw_alignment(rows: list[dict[str, Any]], file: Path, *, title: str) -> None:
    """Draw a box (quartiles, median) for each K and dimension, and a dot for each seed; a colour for each dimension.

    Args:
        rows: a row for each seed and each pair of K and dimension, with k, dim (None: no PCA) and nmi.
        file: the PNG to write.
        title: above the picture.

    Raises:
        ImportError: without matplotlib.
    """
    ks, dims = (list(dict.fromkeys(row[name] for row in rows)) for name in ("k", "dim"))
    width = 0.8 / len(dims)
    drawing = figure(max(4.5, 1.5 + 0.55 * len(ks) * len(dims)), 3.6)
    axes = drawing.subplots()
    for number, dim in enumerate(dims):
        colour = COLOURS[number % len(COLOURS)]
        places = [i + (number - (len(dims) - 1) / 2) * width for i in range(len(ks))]
        values = [[row["nmi"] for row in rows if (row["k"], row["dim"]) == (k, dim)] for k in ks]
        boxes = axes.boxplot(
            values,
            positions=places,
            widths=0.75 * width,
            showfliers=False,
            patch_artist=True,
            manage_ticks=False,
            medianprops={"color": "black", "linewidth": 1.2},
            boxprops={"facecolor": colour, "alpha": 0.35, "edgecolor": colour},
            whiskerprops={"color": colour},
            capprops={"color": colour},
        )
        boxes["boxes"][0].set_label("no PCA" if dim is None else f"PCA {dim}")
        for place, nmis in zip(places, values, strict=True):
            spread = (torch.rand(len(nmis), generator=generator("dots", number)) - 0.5) * 0.5 * width
            axes.scatter([place + float(x) for x in spread], nmis, s=6, color=colour, alpha=0.7, linewidths=0)
    axes.set_xticks(range(len(ks)), [str(k) for k in ks])
    axes.set_xlabel("clusters K")
    axes.set_ylabel("NMI with the labels")
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    if len(dims) > 1:
        axes.legend(frameon=False, fontsize=9)
    save(drawing, file, dpi=150)
