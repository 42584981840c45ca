"""The curve of a run: python -m benchmarks.plot_run RUN_FOLDER docs/curve.png (needs pip install -e '.[dev]')."""

import argparse
import csv
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PANELS = [
    (
        "agreement",
        [("cluster/nmi_previous", "NMI with the last assignment"), ("cluster/nmi_labels", "NMI with the labels")],
    ),
    ("share of images", [("cluster/moved_share", "moved"), ("train/accuracy", "pseudo-label predicted")]),
    ("clusters", [("cluster/clusters_used", "used"), ("cluster/n_repaired", "found empty and repaired")]),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    with (arguments.run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    epochs = [int(row["epoch"]) + 1 for row in rows]
    figure, axes = plt.subplots(1, len(PANELS), figsize=(12, 3.2), layout="constrained")
    for axis, (title, curves) in zip(axes, PANELS, strict=True):
        for name, label in curves:
            axis.plot(epochs, [float(row[name]) if row.get(name) else float("nan") for row in rows], label=label)
        axis.set(title=title, xlabel="epoch")
        axis.set_ylim(bottom=0)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=8)
    arguments.picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.picture, dpi=110)


if __name__ == "__main__":
    main()
