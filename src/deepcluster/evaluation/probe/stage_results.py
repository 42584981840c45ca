"""Results of the probes of stages, one per stage and seed: as numbers, as a table and as a file."""

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
        stage: its name.
        seed: the number of the repetition, from 0.
        accuracy: share of the test images that are right, after the last epoch.
        learning_rate: of the fast probe the chosen one.
        held_out_accuracy: fast: of that rate, on the part of the training images that it was not trained on.
        best_test_epoch_accuracy: original: the best of all epochs on the test images, which the 2018 code reports.
    """

    stage: str
    seed: int
    accuracy: float
    learning_rate: float
    held_out_accuracy: float | None = None
    best_test_epoch_accuracy: float | None = None


def numbers(stages: Sequence[Stage], results: Sequence[StageResult]) -> dict[str, float]:
    """Keys and values for results.json, see :meth:`StageProbe.run`."""
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


def table(stages: Sequence[Stage], results: Sequence[StageResult]) -> list[str]:
    """Lines of a table: stage, what is read, accuracy, and the best test epoch or the chosen rates."""
    values = numbers(stages, results)
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
    """A CSV file with one line per stage and seed; what a protocol does not have stays empty."""
    by_name = {stage.name: stage for stage in stages}
    rows = [
        [
            *(r.stage, protocol, r.seed, r.accuracy, r.best_test_epoch_accuracy, r.learning_rate, r.held_out_accuracy),
            *(by_name[r.stage].n_features, str(by_name[r.stage].pooling)),
        ]
        for r in results
    ]
    write_csv(file, COLUMNS, rows)
