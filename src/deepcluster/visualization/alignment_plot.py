"""Initial alignment as a picture: the distribution of NMI over networks for every K and dimension."""

from dataclasses import dataclass
from pathlib import Path

import torch

from deepcluster.evaluation.clusters.alignment_table import Row
from deepcluster.evaluation.clusters.initial_alignment import InitialAlignment
from deepcluster.evaluation.clusters.seed_files import SeedFiles
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.system.seeding import generator
from deepcluster.visualization.charts import save

COLOURS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377")  # Tol's bright: told apart by all eyes


@dataclass(kw_only=True)
class DrawnInitialAlignment(InitialAlignment):
    """:class:`InitialAlignment` and its picture, initial_alignment.png (needs the extra viz; else it is left out)."""

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """See :meth:`InitialAlignment.run`."""
        results = super().run(context)
        rows = SeedFiles(context.folder).rows([context.seed + i for i in range(self.n_seeds)])
        if rows[0]["nmi"] is not None:
            file = context.folder / "initial_alignment.png"
            network = context.stored.path.name.rpartition(".")[2]
            try:
                draw(rows, file, title=f"{network}, untrained, on {context.data.source}: {self.n_seeds} seeds")
                context.progress.say(f"picture    {file}")
            except ImportError as error:
                context.progress.say(f"no picture: {error}")
        return results


def draw(rows: list[Row], file: Path, *, title: str) -> None:
    """A box (quartiles, median) for each setting over one dot for each seed; K from left to right, PCA in colours.

    Args:
        rows: of each seed and setting: k, dim, nmi.
        file: a PNG file.
        title: above it.

    Raises:
        ImportError: without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"pictures need an extra: pip install -e '.[viz]' ({error})") from error
    ks, dims = (list(dict.fromkeys(row[name] for row in rows)) for name in ("k", "dim"))
    width = 0.8 / len(dims)
    figure = Figure(figsize=(max(4.5, 1.5 + 0.55 * len(ks) * len(dims)), 3.6), layout="constrained")
    axes = figure.subplots()
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
        for place, found in zip(places, values, strict=True):
            spread = (torch.rand(len(found), generator=generator("dots", number)) - 0.5) * 0.5 * width
            axes.scatter([place + float(x) for x in spread], found, s=6, color=colour, alpha=0.7, linewidths=0)
    axes.set_xticks(range(len(ks)), [str(k) for k in ks])
    axes.set_xlabel("clusters K")
    axes.set_ylabel("NMI with the labels")
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    if len(dims) > 1:
        axes.legend(frameon=False, fontsize=9)
    save(figure, file, dpi=150)
