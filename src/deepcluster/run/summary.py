"""The end of a run: the content of summary.json, and the printed table with commands to try next."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as PrintedTable

from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.method import Clustering
from deepcluster.run.gain import gain_sentence
from deepcluster.system.machine import in_gb
from deepcluster.tracking.tracker import Table
from deepcluster.training.checkpointing import PREVIOUS
from deepcluster.training.reassign import ReassignCallback

LARGE = 1e8  # bytes of checkpoints from which their sizes are told
ROWS = [
    ("k-NN accuracy, test images", "knn_accuracy", "{:.1%}"),
    ("k-NN accuracy, PCA-whitened", "knn_whitened_accuracy", "{:.1%}"),
    ("linear-probe accuracy, test images", "linear_probe_accuracy", "{:.1%}"),
    ("NMI with the labels", "nmi_labels", "{:.3f}"),
    ("NMI with the labels, K = classes", "nmi_classes", "{:.3f}"),
    ("two-crop accuracy", "crops_nearest", "{:.1%}"),
    ("two-crop accuracy, PCA-whitened", "crops_nearest_whitened", "{:.1%}"),
    ("two crops in one cluster", "crops_together", "{:.1%}"),
    ("NMI of two seeds' clusters", "seeds_agree", "{:.3f}"),
    ("stability: NMI with the last", "nmi_previous", "{:.3f}"),
    ("clusters used", "clusters_used", "{:.0f}"),
]
FURTHER = ("duplicates.csv", "odd.csv", "embeddings.npy", "changes.csv")  # files of some runs
COLUMNS = ("pixels", "patches", "untrained", "pretrained", "trained")  # of the table, those that were measured
FIGURES = (  # of each column in summary.json
    "knn_accuracy",
    "knn_whitened_accuracy",
    "linear_probe_accuracy",
    "linear_probe_lr",
    "nmi_labels",
    "nmi_classes",
    "crops_nearest",
    "crops_nearest_whitened",
    "crops_together",
    "seeds_agree",
    "nmi_previous",
    "clusters_used",
    "n_repaired",
    "largest_share",
    "entropy",
    "purity",
    "one_to_one_accuracy",
    "ari_labels",
    "ami_labels",
)


def run_summary(
    conductor: ReassignCallback,
    assignment: Assignment,
    *,
    trained: dict[str, float],
    untrained: dict[str, float],
    baselines: dict[str, dict[str, float]],
    baselines_s: float,
    is_pretrained: bool,
    is_start: bool,
    n_test_images: int,
    epochs: int,
    this_process_s: float,
) -> dict[str, Any]:
    """The content of summary.json.

    Args:
        conductor: the training's, after its end.
        assignment: of the network that the run ends with.
        trained, untrained: figures of the network at the end and at the start; missing ones become null.
        baselines: "pixels" and "patches" -> their figures; those that were not measured are absent.
        baselines_s: seconds in which they were measured, or read.
        is_pretrained: the network started from weights that `init` names: its start is "pretrained" too.
        is_start: the run ends with the network as it started (run/better.py): the clusters are its.
        n_test_images: of the source, with a label; 0: training images were held out to measure accuracies.
        epochs: trained in all.
        this_process_s: seconds since the run, or its resume, started.
    """
    seconds = {name.removesuffix("_s"): round(value, 3) for name, value in conductor.seconds.items()}
    start = untrained if epochs else trained  # of no epochs both are one network
    measured = {"trained": trained, "untrained": start, **baselines}
    if is_pretrained and start:
        measured["pretrained"] = start
    summary: dict[str, Any] = {
        **{who: {name: figures.get(name) for name in FIGURES} for who, figures in measured.items()},
        "first": {"nmi_labels": conductor.first_nmi_labels},  # of the first clusters that it learned
        "clusters_used": int((assignment.sizes() > 0).sum()),
        "k": assignment.n_outputs,
        "repaired_clusters": conductor.n_repaired,
        "drawn": {  # how evenly the images were drawn from the clusters, at the last reassignment
            name: conductor.latest.get(f"cluster/drawn_{name}") for name in ("perplexity", "largest_share")
        },
        "nmi_average": conductor.nmi_average,
        "merged_clusters": conductor.n_merged,
        "epochs": epochs,
        "start": "pretrained" if is_pretrained else "untrained",
        "kept": "start" if is_start else "trained",
        "n_images": len(assignment.labels),
        "n_test_images": n_test_images,
        "seed": conductor.seed,
        "seconds": {**seconds, "baselines": round(baselines_s, 3), "this_process": round(this_process_s, 3)},
    }
    return {**summary, "table": cells(summary), "learned": learned(summary)}


def print_summary(
    summary: dict[str, Any],
    folder: Path,
    *,
    source: str,
    clustering: Clustering,
    commands: dict[str, str],
    is_measured: bool,
) -> None:
    """Print the figures of the network beside those of its start and of cheap alternatives, and what to try next.

    Args:
        source: the value of data.source.
        commands: what to type next: aim -> command.
        is_measured: the value of evaluation.enabled.
    """
    by = "" if clustering.k_is_fixed else f" found by {clustering.kind}"
    epochs = f"{summary['epochs']} epoch{'' if summary['epochs'] == 1 else 's'}"
    table = PrintedTable(title=f"DeepCluster on {source}, {epochs}, K = {summary['k']}{by}")
    (_, *shown), *lines = cells(summary)
    table.add_column("")
    for who in shown:
        table.add_column(who, justify="right", style="bold" if who == "trained" else None)
    for row in lines:
        table.add_row(*row)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(table)
    if (sentence := learned(summary)) is not None:
        console.print(f"learned    {sentence}")
    seconds = summary["seconds"]
    by_phase = ", ".join(
        f"{name} {seconds[name]:.0f} s" for name in ("features", "reduction", "clustering", "training")
    )
    console.print(f"seconds    {by_phase}")
    further = "".join(f", {name}" for name in FURTHER if "files" in summary and (folder / name).is_file())
    listed = f"summary.json, metrics.csv, clusters.csv (each image's cluster){further}, checkpoints/"
    console.print(f"files      {folder}: {listed}")
    if (line := checkpoint_sizes(folder / "checkpoints")) is not None:
        console.print(f"{'':11}{line}")
    if summary["merged_clusters"] > 0:
        room = clustering.capacity(summary["n_images"])
        console.print(
            f"merged     {summary['merged_clusters']:,} clusters in all, because the head has room for {room:,}; "
            "clustering.max_k=MORE makes room"
        )
    for number, sentence in enumerate(summary.get("changes", {}).get("told", ())):
        console.print(f"{'' if number else 'changes':11}{sentence}")
    for sentence in summary.get("alike", ()):
        console.print(f"alike      {sentence}")
    if is_measured and summary["trained"]["knn_accuracy"] is None:
        console.print(
            "           accuracy not measured: it needs labels of two classes and evaluation.knn.k labelled images"
        )
    for number, (aim, command) in enumerate(commands.items()):
        console.print(f"{'' if number else 'next':11}{aim + ':':17}{command}")


def checkpoint_sizes(folder: Path) -> str | None:
    """What takes the disk space of a run's checkpoints, and what makes it less; None if it is little."""
    sizes = {file.name: file.stat().st_size for file in sorted(folder.glob("*.ckpt"))}
    if sum(sizes.values()) < LARGE:
        return None
    by_file = ", ".join(f"{name} {in_gb(size)}" for name, size in sizes.items())
    less = "; checkpoint.keep_previous=false keeps no previous.ckpt" if PREVIOUS in sizes else ""
    return (
        f"checkpoints/ take {in_gb(sum(sizes.values()))}: {by_file}. To use the network final.ckpt is enough; the "
        f"others, with the optimizer's state, are to train on{less}"
    )


def figures_table(summary: dict[str, Any]) -> Table:
    """The figures of the printed table as numbers, for trackers."""
    shown = columns(summary)
    numbers: list[list[str | int | float | None]] = [
        [title, *(summary[who].get(name) for who in shown)] for title, name, _ in rows(summary)
    ]
    return Table(columns=["", *shown], rows=numbers)


def columns(summary: dict[str, Any]) -> list[str]:
    """The columns of the table: "pretrained" stands in place of "untrained" where weights were named.

    Of a run of no epochs the network has no column of its own: it is that of the start.
    """
    hidden = {"untrained"} if "pretrained" in summary else set()
    hidden |= {"trained"} if summary.get("epochs") == 0 else set()
    return [who for who in COLUMNS if who in summary and who not in hidden]


def rows(summary: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The rows of the table in which a column has a number: title, figure, form."""
    measured = [row for row in ROWS if any(summary[who].get(row[1]) is not None for who in columns(summary))]
    if summary.get("n_test_images") != 0:
        return measured
    return [(title.replace("test images", "held-out images"), name, form) for title, name, form in measured]


def cells(summary: dict[str, Any]) -> list[list[str]]:
    """The printed table: the names of its columns, then for each row its title and the figures as text."""
    shown = columns(summary)
    lines = [["", *shown]]
    for title, name, form in rows(summary):
        line = [form.format(value) if (value := summary[who].get(name)) is not None else "-" for who in shown]
        if name == "clusters_used":  # repairs of empty clusters make it K: say how many there were
            line = [cell + _repaired(summary[who]) for cell, who in zip(line, shown, strict=True)]
        lines.append([title, *line])
    return lines


def learned(summary: dict[str, Any]) -> str | None:
    """What training added, in a sentence; None if it was not measured."""
    figures = {who: summary[who] for who in columns(summary)}
    return gain_sentence(figures, is_start=summary.get("kept") == "start")


def _repaired(figures: dict[str, Any]) -> str:
    """How many clusters were empty and repaired, as text; empty for none."""
    n_repaired = figures.get("n_repaired") or 0
    return f" ({n_repaired:.0f} were empty)" if n_repaired else ""
