"""What a run says to people at its end: the table and the lines under it."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Printed

from deepcluster.settings.train import TrainConfig
from deepcluster.system.quoting import argument
from deepcluster.tracking.recorder import Table

ROWS = [
    ("k-NN accuracy, test images", "knn_accuracy", "{:.1%}"),
    ("linear-probe accuracy, test images", "linear_probe_accuracy", "{:.1%}"),
    ("NMI with the labels", "nmi_labels", "{:.3f}"),
    ("NMI with the last assignment", "nmi_previous", "{:.3f}"),
    ("clusters used", "clusters_used", "{:.0f}"),
]


def print_summary(summary: dict[str, Any], folder: Path, config: TrainConfig) -> None:
    """The table at the end of a run: each figure beside that of the untrained network, and what to do next."""
    found = "" if config.clustering.k_is_fixed else f" found by {config.clustering.kind}"
    table = Printed(title=f"DeepCluster on {config.data.source}, {summary['epochs']} epochs, K = {summary['k']}{found}")
    table.add_column("")
    table.add_column("untrained", justify="right")
    table.add_column("trained", justify="right", style="bold")
    for title, name, form in ROWS:
        before, after = summary["untrained"][name], summary["trained"][name]
        cells = [form.format(value) if value is not None else "-" for value in (before, after)]
        if name == "clusters_used":  # which repairing makes K
            cells = [cell + _repaired(summary[who]) for cell, who in zip(cells, ("untrained", "trained"), strict=True)]
        table.add_row(title, *cells)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(table)
    seconds = summary["seconds"]
    spent = ", ".join(f"{name} {seconds[name]:.0f} s" for name in ("features", "reduction", "clustering", "training"))
    console.print(f"seconds    {spent}")
    console.print(f"files      {folder}: summary.json, metrics.csv, clusters.csv (each image's cluster), checkpoints/")
    if summary["merged_clusters"] > 0:
        room = config.clustering.capacity(summary["n_images"])
        console.print(
            f"merged     {summary['merged_clusters']:,} clusters in all, beyond the {room:,} that there is room for; "
            "clustering.max_k=MORE makes room"
        )
    if config.evaluation.enabled and summary["trained"]["knn_accuracy"] is None:
        console.print(
            "           accuracy not measured: it needs labels of two classes and evaluation.knn.k labelled images"
        )
    ckpt, more = argument("ckpt", folder), 2 * int(config.trainer["max_epochs"])
    advice = {
        "train on": f"python train.py {argument('resume', folder)} trainer.max_epochs={more}",
        "new images": f"python eval.py {ckpt} evaluation=assign data=folder data.root=DIR",
        "your own images": "python train.py data=folder data.root=DIR",
        "compare K": "python train.py -m clustering.k=25,50,100",
    }
    if more == 0:  # the network was measured as it starts
        del advice["train on"]
    if not config.clustering.k_is_fixed:
        del advice["compare K"]
    for number, (aim, command) in enumerate(advice.items()):
        console.print(f"{'' if number else 'next':11}{aim + ':':17}{command}")


def figures_table(summary: dict[str, Any]) -> Table:
    """The figures of the printed table as numbers, for loggers."""
    rows: list[list[str | int | float | None]] = [
        [title, summary["untrained"][name], summary["trained"][name]] for title, name, _ in ROWS
    ]
    return Table(columns=["", "untrained", "trained"], rows=rows)


def _repaired(figures: dict[str, Any]) -> str:
    """How many of the clusters had ended empty, if any."""
    n_repaired = figures.get("n_repaired") or 0
    return f" ({n_repaired:.0f} were empty)" if n_repaired else ""
