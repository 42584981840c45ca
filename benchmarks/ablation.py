"""The table of a sweep, in Markdown: what its jobs differ in, averaged over their seeds.

    python train.py -m mode=correct,official seed=1,2,3 output_dir=runs/modes
    python -m benchmarks.ablation runs/modes

Each column is one setting, each figure mean +- standard deviation over its seeds (n - 1). With two settings of the same
seeds a last column has the difference, seed by seed: both begin with the same weights, so it varies less than they do.
NMI is computed anew from the assignments, with the arithmetic average whatever the runs logged, so that it compares.
"""

import argparse
import csv
import json
import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml

from deepcluster.clustering import metrics
from deepcluster.clustering.history import read_assignments

# Title, name, how often the unit goes into 1, decimals.
ROWS = [
    ("k-NN, test images (%)", "knn_accuracy", 100, 1),
    ("linear probe, test images (%)", "linear_probe_accuracy", 100, 1),
    ("NMI with the labels", "nmi_labels", 1, 3),
    ("NMI with the last assignment", "nmi_previous", 1, 3),
    ("clusters used", "clusters_used", 1, 0),
    ("largest cluster, share of the images (%)", "largest_share", 100, 2),
    ("clusters drawn, effective number", "drawn_perplexity", 1, 1),
    ("largest cluster, share of the draw (%)", "drawn_largest_share", 100, 2),
    ("k-NN, untrained (%)", "untrained_knn_accuracy", 100, 1),
    ("linear probe, untrained (%)", "untrained_linear_probe_accuracy", 100, 1),
]


@dataclass(kw_only=True)
class Run:
    """One finished job of a sweep.

    Args:
        overrides: what was typed for it, key -> value.
        seed: of the run.
        numbers: its figures by the names in ROWS; those that it could not measure are absent.
    """

    overrides: dict[str, str]
    seed: int
    numbers: dict[str, float]


def read_run(folder: Path) -> Run:
    """A job's folder, which has a summary.json."""
    summary = json.loads((folder / "summary.json").read_text())
    typed = yaml.safe_load((folder / ".hydra" / "overrides.yaml").read_text())
    numbers = {
        **summary["trained"],
        **{f"drawn_{name}": value for name, value in summary.get("drawn", {}).items()},
        **{f"untrained_{name}": value for name, value in summary["untrained"].items()},
        **arithmetic_nmi(folder),
    }
    return Run(
        overrides=dict(override.lstrip("+~").split("=", 1) for override in typed if "=" in override),
        seed=summary["seed"],
        numbers={name: float(value) for name, value in numbers.items() if value is not None},
    )


def arithmetic_nmi(folder: Path) -> dict[str, float | None]:
    """NMI of the finished network's clusters with the labels and with the assignment before."""
    labels = torch.from_numpy(read_assignments(folder).labels)
    nmi: dict[str, float | None] = {"nmi_previous": None, "nmi_labels": None}
    if len(labels) > 1:
        nmi["nmi_previous"] = metrics.nmi(labels[-1], labels[-2])
    with (folder / "clusters.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    names = sorted({line.get("label", "") for line in lines} - {""})
    if names:
        classes = torch.tensor([names.index(line["label"]) if line["label"] else -1 for line in lines])
        clusters = torch.tensor([int(line["cluster"]) for line in lines])
        nmi["nmi_labels"] = metrics.nmi(clusters[classes >= 0], classes[classes >= 0])
    return nmi


def by_setting(runs: list[Run]) -> dict[str, list[Run]]:
    """The runs of each setting, named by the overrides in which the runs differ, seeds apart; in order of seeds."""
    keys = dict.fromkeys(key for run in runs for key in run.overrides)
    differing = [key for key in keys if key != "seed" and len({run.overrides.get(key) for run in runs}) > 1]
    settings: dict[str, list[Run]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.seed):
        settings[" ".join(f"{key}={run.overrides.get(key, 'default')}" for key in differing) or "all"].append(run)
    return dict(sorted(settings.items()))


def table(settings: dict[str, list[Run]]) -> str:
    """The settings side by side."""
    seeds = [[run.seed for run in runs] for runs in settings.values()]
    paired = len(seeds) == 2 and seeds[0] == seeds[1]
    titles = [f"{name} ({len(runs)} seeds)" for name, runs in settings.items()]
    lines = [["", *titles, *(["second - first"] if paired else [])]]
    lines.append(["---"] * len(lines[0]))
    for title, name, unit, decimals in ROWS:
        columns = [[unit * run.numbers[name] for run in runs if name in run.numbers] for runs in settings.values()]
        cells = [spread(values, decimals) for values in columns]
        if paired:
            whole = len(columns[0]) == len(columns[1]) == len(seeds[0])
            pairs = zip(*columns, strict=True) if whole else []
            cells.append(spread([second - first for first, second in pairs], decimals, sign="+"))
        lines.append([title, *cells])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def spread(values: list[float], decimals: int, sign: str = "") -> str:
    """Mean and standard deviation; a dash where nothing was measured."""
    if not values:
        return "-"
    mean = f"{statistics.mean(values):{sign}.{decimals}f}"
    # One decimal more where none is shown: clusters are whole, their deviation is not.
    return f"{mean} ± {statistics.stdev(values):.{max(1, decimals)}f}" if len(values) > 1 else mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path, help="folder of a sweep: output_dir of train.py -m, or runs/sweep_...")
    sweep = parser.parse_args().sweep
    jobs = sorted(file.parent for file in sweep.glob("*/.hydra"))
    runs = [read_run(folder) for folder in jobs if (folder / "summary.json").is_file()]
    if not runs:
        parser.error(f"{sweep} holds no finished run: no */summary.json; give the folder of a sweep")
    print(table(by_setting(runs)))
    unfinished = [folder.name for folder in jobs if not (folder / "summary.json").is_file()]
    if unfinished:
        print(f"\nnot finished, and left out: {', '.join(unfinished)}")


if __name__ == "__main__":
    main()
