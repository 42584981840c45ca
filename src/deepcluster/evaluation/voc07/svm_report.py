"""Reports the results of the SVMs: a CSV file with a line for each, and means over classes and samples."""

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
    test_split: VocSplit,
    max_iter: int,
    say: Callable[[str], None],
    folder: Path,
) -> dict[str, float]:
    """Write voc07_svm.csv; print the means, and how many SVMs stopped at `max_iter`.

    Returns:
        See :meth:`Voc07Svm.run`.
    """
    rows = []
    by_shots: dict[int | None, dict[int, dict[str, list[float]]]] = {}  # shots -> sample -> rule -> values
    for task in tasks:
        result = results[task.key]
        by_rule = by_shots.setdefault(task.shots, {}).setdefault(task.sample, {rule: [] for rule in RULES})
        for rule in RULES:
            by_rule[rule].append(float("nan") if result[rule] is None else result[rule])
        precisions = ["" if result[rule] is None else f"{result[rule]:.6f}" for rule in RULES]
        rows.append(
            ["all" if task.shots is None else task.shots, task.sample, task.class_name, result["cost"], *precisions]
        )
    write_csv(folder / "voc07_svm.csv", COLUMNS, rows)
    numbers: dict[str, float] = {}
    for shots, samples in by_shots.items():
        if shots is None:
            numbers |= report_classes(samples[0], test_split, say)
        else:
            numbers |= _report_shots(shots, [means(sample) for sample in samples.values()], say)
    n_stopped = sum(not results[task.key]["converged"] for task in tasks)
    if n_stopped:
        say(f"{n_stopped} of {len(tasks)} SVMs stopped at evaluation.svm.max_iter={max_iter} unconverged; raise it")
    return numbers


def _report_shots(shots: int, samples: Sequence[Mapping[str, float]], say: Callable[[str], None]) -> dict[str, float]:
    """Mean and standard deviation over the samples with this number of positives."""
    numbers: dict[str, float] = {}
    for rule in ("11_point", "area"):
        values = [sample[f"map_{rule}"] for sample in samples]
        numbers[f"map_{rule}_shots_{shots}_mean"] = statistics.mean(values)
        if len(values) > 1:
            numbers[f"map_{rule}_shots_{shots}_std"] = statistics.stdev(values)
    spread = numbers.get(f"map_area_shots_{shots}_std")
    say(
        f"{shots:>3} positives of each class   mAP (area) {numbers[f'map_area_shots_{shots}_mean']:6.1%}"
        + (" of one sample" if spread is None else f" ± {spread:.1%} over {len(samples)} samples")
    )
    return numbers
