"""Results of the linear probes, one for each stage and seed: as numbers, as a table and as a CSV file."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deepcluster.evaluation.probe.stages import Stage
from deepcluster.system.tables import aligned, write_csv

COLUMNS = (
    *("stage", "protocol", "seed", "accuracy", "best_test_epoch", "learning_rate", "held_out_accuracy"),
    *("n_features", "pooling"),
)


@dataclass(kw_only=True)
class StageResult:
    """Accuracy of the probe of one stage with one seed.

    Args:
        stage: name of the stage.
        seed: number of the repetition, from 0.
        accuracy: share of the test images classified correctly, after the last epoch.
        learning_rate: for the fast probe the chosen rate.
        held_out_accuracy: fast probe: accuracy with this rate on the held-out training images.
        best_test_epoch_accuracy: original probe: accuracy of the best epoch on the test images, as in the 2018 code.
    """

    stage: str
    seed: int
    accuracy: float
    learning_rate: float
    held_out_accuracy: float | None = None
    best_test_epoch_accuracy: float | None = None


def result_numbers(stages: Sequence[Stage], results: Sequence[StageResult]) -> dict[str, float]:
    """The numbers for results.json, see :meth:`StageProbe.run`."""
    values: dict[str, float] = {}
    for stage in stages:
        of_stage = [result for result in results if result.stage == stage.name]
        accuracies = [result.accuracy for result in of_stage]
        values[f"linear_probe_accuracy_{stage.name}"] = statistics.fmean(accuracies)
        if len(of_stage) > 1:
            values[f"linear_probe_accuracy_std_{stage.name}"] = statistics.stdev(accuracies)
        best = [r.best_test_epoch_accuracy for r in of_stage if r.best_test_epoch_accuracy is not None]
        if best:
            values[f"linear_probe_best_test_epoch_{stage.name}"] = statistics.fmean(best)
    return values


def table_lines(stages: Sequence[Stage], results: Sequence[StageResult]) -> list[str]:
    """Lines of a table: stage, numbers read, accuracy, and the best test epoch or the chosen learning rates."""
    values = result_numbers(stages, results)
    original = any(result.best_test_epoch_accuracy is not None for result in results)
    rows = [["stage", "numbers read", "accuracy", "best test epoch" if original else "learning rate"]]
    for stage in stages:
        accuracy = f"{values[f'linear_probe_accuracy_{stage.name}']:.1%}"
        deviation = values.get(f"linear_probe_accuracy_std_{stage.name}")
        if deviation is not None:
            accuracy += f" ± {100 * deviation:.1f}"
        last = ", ".join(dict.fromkeys(f"{r.learning_rate:g}" for r in results if r.stage == stage.name))
        if original:
            last = f"{values[f'linear_probe_best_test_epoch_{stage.name}']:.1%}"
        shape = f" = {'x'.join(map(str, stage.shape))}" if len(stage.shape) > 1 else ""
        rows.append([stage.name, f"{stage.n_features:,}{shape}", accuracy, last])
    return aligned(rows, n_left=len(rows[0]))


def write_results(file: Path, stages: Sequence[Stage], results: Sequence[StageResult], protocol: str) -> None:
    """Write a CSV file with one line for each stage and seed; cells that a protocol does not have stay empty."""
    by_name = {stage.name: stage for stage in stages}
    rows = [
        [
            *(r.stage, protocol, r.seed, r.accuracy, r.best_test_epoch_accuracy, r.learning_rate, r.held_out_accuracy),
            *(by_name[r.stage].n_features, str(by_name[r.stage].pooling)),
        ]
        for r in results
    ]
    write_csv(file, COLUMNS, rows)
