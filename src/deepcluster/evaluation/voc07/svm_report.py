"""Results of the SVMs: a line of a CSV file each, and means over classes and draws."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deepcluster.evaluation.voc07.average_precision import RULES, means
from deepcluster.evaluation.voc07.class_table import report_classes
from deepcluster.evaluation.voc07.lists import VocSplit
from deepcluster.evaluation.voc07.svm_tasks import Task
from deepcluster.system.tables import write_csv

COLUMNS = ("shots", "sample", "class", "cost", *(f"ap_{rule}" for rule in RULES))


def report_svms(
    tasks: Sequence[Task],
    results: Mapping[str, Mapping[str, Any]],
    tested: VocSplit,
    max_iter: int,
    say: Callable[[str], None],
    folder: Path,
) -> dict[str, float]:
    """Write voc07_svm.csv, print the means and how many SVMs stopped at `max_iter`.

    Returns:
        See :meth:`Voc07Svm.run`.
    """
    rows = []
    by_draw: dict[int | None, dict[int, dict[str, list[float]]]] = {}  # shots -> sample -> rule -> class by class
    for task in tasks:
        result = results[task.key]
        draw = by_draw.setdefault(task.shots, {}).setdefault(task.sample, {rule: [] for rule in RULES})
        for rule in RULES:
            draw[rule].append(float("nan") if result[rule] is None else result[rule])
        precisions = ["" if result[rule] is None else f"{result[rule]:.6f}" for rule in RULES]
        shots = "all" if task.shots is None else task.shots
        rows.append([shots, task.sample, task.class_name, result["cost"], *precisions])
    write_csv(folder / "voc07_svm.csv", COLUMNS, rows)
    numbers: dict[str, float] = {}
    for n, draws in by_draw.items():
        if n is None:
            numbers |= report_classes(draws[0], tested, say)
        else:
            numbers |= _report_shots(n, [means(draw) for draw in draws.values()], say)
    n_stopped = sum(not results[task.key]["converged"] for task in tasks)
    if n_stopped:
        say(f"{n_stopped} of {len(tasks)} SVMs stopped at evaluation.svm.max_iter={max_iter}, short of their best")
    return numbers


def _report_shots(shots: int, draws: Sequence[Mapping[str, float]], say: Callable[[str], None]) -> dict[str, float]:
    """Mean and deviation over draws of so many positives."""
    numbers: dict[str, float] = {}
    for rule in ("11_point", "area"):
        values = [draw[f"map_{rule}"] for draw in draws]
        numbers[f"map_{rule}_shots_{shots}_mean"] = statistics.mean(values)
        if len(values) > 1:
            numbers[f"map_{rule}_shots_{shots}_std"] = statistics.stdev(values)
    spread = numbers.get(f"map_area_shots_{shots}_std")
    say(
        f"{shots:>3} positives of each class   mAP (area) {numbers[f'map_area_shots_{shots}_mean']:6.1%}"
        + (" of one draw" if spread is None else f" ± {spread:.1%} over {len(draws)} draws")
    )
    return numbers
