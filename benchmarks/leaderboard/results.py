"""The file of results, one JSON object a line, and docs/leaderboard.md made of it."""

import json
import os
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.leaderboard.rows import SETS, TABLES, Row

Key = tuple[Any, ...]
Result = dict[str, Any]

# Heading, figure, how often the unit goes into 1, decimals.
COLUMNS = [
    ("k-NN", "knn", 100, 1),
    ("whitened", "knn_whitened", 100, 1),
    ("probe", "probe_last", 100, 1),
    ("best stage", "probe_best", 100, 1),
    ("NMI", "nmi", 1, 3),
    ("whitened", "nmi_whitened", 1, 3),
    ("rank", "effective_rank", 1, 1),
    ("epochs", "epochs", 1, 0),
    ("train, CPU s", "train_cpu_s", 1, 0),
    ("train, s", "train_wall_s", 1, 0),
    ("judge, CPU s", "judge_cpu_s", 1, 0),
]
PROBES = "probe_"


def key_of(result: Result) -> Key:
    """What makes two results the same measurement, whatever the commit."""
    names = ("set", "held_out", "n_train", "table", "row", "seed")
    return (*(result[name] for name in names), tuple(result["overrides"]))


def read_results(file: Path) -> list[Result]:
    """The results in their order; of a measurement that was repeated the last. A line cut off by a kill is left out."""
    results: dict[Key, Result] = {}
    for line in file.read_text().splitlines() if file.is_file() else ():
        try:
            result = json.loads(line)
        except ValueError:
            continue
        results.pop(key_of(result), None)
        results[key_of(result)] = result
    return list(results.values())


def append(file: Path, result: Result) -> None:
    """Add a line, at once and whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    is_cut_off = file.is_file() and not file.read_bytes().endswith(b"\n") and file.stat().st_size > 0
    with file.open("a") as lines:
        lines.write(("\n" if is_cut_off else "") + json.dumps(result) + "\n")
        lines.flush()
        os.fsync(lines.fileno())


def numbers(result: Result, name: str) -> float | None:
    """A figure of a result; `probe_best` is the best of its probes."""
    if name == "probe_best":
        return max((value for key, value in result.items() if key.startswith(PROBES)), default=None)
    value: float | None = result.get(name)
    return value


def mean_and_spread(values: Sequence[float], unit: float, decimals: int) -> str:
    """Mean +- standard deviation (n - 1); one value stands alone."""
    mean = f"{unit * statistics.mean(values):,.{decimals}f}"
    return mean if len(values) < 2 else f"{mean} ± {unit * statistics.stdev(values):.{decimals}f}"


def best_stage(results: Iterable[Result]) -> str:
    """The stage whose probe is best in the mean."""
    results = list(results)
    names = {key for result in results for key in result if key.startswith(PROBES)}
    means = {name: statistics.mean(result.get(name, 0.0) for result in results) for name in names}
    return max(means, key=lambda name: means[name]).removeprefix(PROBES) if means else ""


def cells(results: list[Result]) -> list[str]:
    """The cells of a row: its figures over the seeds."""
    if refused := next((result["refused"] for result in results if "refused" in result), None):
        return [f"does not train: {refused}"] + [""] * (len(COLUMNS) - 1)
    found = []
    for _, name, unit, decimals in COLUMNS:
        values = [value for result in results if (value := numbers(result, name)) is not None]
        cell = mean_and_spread(values, unit, decimals) if values else "-"
        found.append(f"{cell} ({best_stage(results)})" if name == "probe_best" and values else cell)
    return found


def told(results: list[Result]) -> str:
    """The figures of a row in words, over the seeds."""
    found = cells(results)
    return (
        ", ".join(f"{column[0]} {cell}" for column, cell in zip(COLUMNS, found, strict=True)) if found[1] else found[0]
    )


def line_of(result: Result) -> str:
    """One line about a finished measurement."""
    return f"{result['set']}  {result['row']}  seed {result['seed']}: {told([result])}"


def by_row(results: Iterable[Result], rows: Iterable[Row]) -> dict[str, list[Result]]:
    """Row -> its results over the seeds, of the overrides that it has now; rows of no table come after."""
    now = {row.name: row for row in rows}
    groups: dict[str, list[Result]] = {name: [] for name in now}
    for result in results:
        name = result["row"]
        if name not in now or tuple(result["overrides"]) == now[name].overrides:
            groups.setdefault(name, []).append(result)
    return {name: group for name, group in groups.items() if group}


def page(results: list[Result]) -> str:
    """docs/leaderboard.md, of the results on test images."""
    results = [result for result in results if not result["held_out"] and result["n_train"] is None]
    return "\n".join([HEAD, *(part for name in SETS for table in TABLES for part in _part(results, name, table))])


def _part(results: list[Result], name: str, table: str) -> list[str]:
    rows = TABLES[table](name)
    found = by_row((r for r in results if (r["set"], r["table"]) == (name, table)), rows)
    if not found:
        return []
    command = f"python -m benchmarks.leaderboard {COMMANDS[table]}--set {name} --data DIR"
    return [
        f"\n## {TITLES[name]}{TABLE_TITLES[table]}\n",
        f"    {command}\n",
        "| row | " + " | ".join(column[0] for column in COLUMNS) + " | seeds |",
        "|" + "---|" * (len(COLUMNS) + 2),
        *(_markdown(row, group) for row, group in found.items()),
        "",
        *(f"- {row}: {_settings(group[-1])}; {_where(group)}" for row, group in found.items()),
    ]


def _markdown(row: str, group: list[Result]) -> str:
    return f"| {row} | " + " | ".join(cells(group)) + f" | {len(group)} |"


def _settings(result: Result) -> str:
    if result.get("baseline"):
        return "nothing is trained"
    return f"`{' '.join(result['overrides'])}`" if result["overrides"] else "`method=deepcluster`"


def _where(group: list[Result]) -> str:
    commits, machines = (sorted({result[name] for result in group}) for name in ("commit", "machine"))
    return f"commit {', '.join(commits)}; {'; '.join(machines)}"


TITLES = {
    "embedded": "5,000 images of Fashion-MNIST (in the package), judged on its 10,000 test images",
    "cifar10": "CIFAR-10, 50,000 images, judged on its 10,000 test images",
    "imagenette": "2,000 photographs of 10 kinds (Imagenette, 128 px), judged on 1,000 others",
}
TABLE_TITLES = {"main": "", "v1_to_v2": ": from DeepCluster to DeepCluster-v2", "gpu": ": ResNet-18 on a GPU"}
COMMANDS = {"main": "", "v1_to_v2": "--table v1_to_v2 ", "gpu": "--gpu "}
HEAD = """\
# Leaderboard

What each method and recipe learns, beside what needs no training. Made by `python -m benchmarks.leaderboard --page`
from `docs/leaderboard.jsonl`, which has every seed. Mean ± standard deviation over the seeds.

- k-NN and probe: accuracy in % on images that chose nothing, k-NN by the 20 nearest (cosine) and the linear probe of
  train.py, on the last maps. Best stage: the best of these and of the probes of the last three stages before their
  pooling (of at most 10,000 numbers each), chosen by its mean.
- NMI of the labels and of k-means clusters as many as classes, mean of five starts.
- Whitened: the same rows, PCA-whitened to 128 numbers, as in the table of a run.
- Rank: the effective rank of the features (rows of a baseline).
- Seconds of the processors, and of the clock: of the training, which evaluates nothing meanwhile, and of the judging.
  On a shared machine only those of the processors compare.
"""
