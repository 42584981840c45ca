"""What a run leaves for people: the table, the lines under it, and clusters.csv."""

import csv
import io
import re
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import Tensor

from deepcluster.atomic import write_atomically
from deepcluster.config import TrainConfig
from deepcluster.data.images import ImageSet

ROWS = [
    ("k-NN accuracy, test images", "knn_accuracy", "{:.1%}"),
    ("linear-probe accuracy, test images", "linear_probe_accuracy", "{:.1%}"),
    ("NMI with the labels", "nmi_labels", "{:.3f}"),
    ("NMI with the last assignment", "nmi_previous", "{:.3f}"),
    ("clusters used", "clusters_used", "{:.0f}"),
]


def print_summary(summary: dict[str, Any], folder: Path, config: TrainConfig) -> None:
    """The table at the end of a run: each figure beside that of the untrained network, and what to do next."""
    table = Table(title=f"DeepCluster on {config.data.source}, {summary['epochs']} epochs, K = {summary['k']}")
    table.add_column("")
    table.add_column("untrained", justify="right")
    table.add_column("trained", justify="right", style="bold")
    for title, name, form in ROWS:
        before, after = summary["untrained"][name], summary["trained"][name]
        cells = [form.format(value) if value is not None else "-" for value in (before, after)]
        table.add_row(title, *cells)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(table)
    seconds = summary["seconds"]
    spent = ", ".join(f"{name} {seconds[name]:.0f} s" for name in ("features", "reduction", "clustering", "training"))
    console.print(f"seconds    {spent}")
    console.print(f"files      {folder}: summary.json, metrics.csv, clusters.csv (each image's cluster), checkpoints/")
    if config.evaluation.enabled and summary["trained"]["knn_accuracy"] is None:
        console.print(
            "           accuracy not measured: it needs labels of two classes and evaluation.knn.k labelled images"
        )
    ckpt, more = argument("ckpt", folder), 2 * int(config.trainer["max_epochs"])
    advice = {
        "train on": f"python train.py {argument('resume', folder)} trainer.max_epochs={more}",
        "new images": f"python eval.py {ckpt} evaluation=assign data=folder data.root=DIR",
        "your own images": "python train.py data=folder data.root=DIR",
        "compare K": "python train.py -m clustering.k=50,100,200",
    }
    if more == 0:  # the network was measured as it starts
        del advice["train on"]
    for number, (aim, command) in enumerate(advice.items()):
        console.print(f"{'' if number else 'next':11}{aim + ':':17}{command}")


def argument(key: str, path: Path) -> str:
    """KEY=PATH as it can be typed: in quotes, for the shell and for Hydra, where the path has signs of theirs."""
    plain = re.fullmatch(r"[\w/.+@%:-]+", str(path), re.ASCII) is not None
    return f"{key}={path}" if plain else f"""'{key}="{path}"'"""


def write_clusters(path: Path, images: ImageSet, clusters: Tensor) -> None:
    """clusters.csv: one line per image with its identity, its cluster and, where known, its label."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    labelled = images.labels is not None
    writer.writerow(["sample", "cluster", *(["label"] if labelled else [])])
    names = images.classes
    for i, (sample, cluster) in enumerate(zip(images.samples, clusters.tolist(), strict=True)):
        row: list[Any] = [sample, cluster]
        if images.labels is not None:
            label = int(images.labels[i])
            row.append("" if label < 0 else names[label] if names else label)
        writer.writerow(row)
    # A file name need not be UTF-8; its bytes come back as they are.
    write_atomically(path, text.getvalue().encode("utf-8", "surrogateescape"))
