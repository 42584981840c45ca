"""Reports the values of each class, such as average precisions: a table for the terminal and a CSV file."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from deepcluster.evaluation.voc07.average_precision import means
from deepcluster.evaluation.voc07.lists import VocSplit
from deepcluster.system.tables import write_csv


def report_classes(
    by_rule: dict[str, list[float]], split: VocSplit, say: Callable[[str], None], file: Path | None = None
) -> dict[str, float]:
    """Print the average precisions of each class and write them to `file`, if given.

    Args:
        by_rule: from :func:`class_average_precisions`.
        split: the tested split.

    Returns:
        map_RULE -> mean average precision.
    """
    counts = {name: (split.labels >= least).sum(0).tolist() for name, least in (("n_images", 0), ("n_positive", 1))}
    report_table(split.classes, counts, {f"ap_{rule}": values for rule, values in by_rule.items()}, say, file)
    return means(by_rule)


def report_table(
    classes: Sequence[str],
    counts: Mapping[str, Sequence[int]],
    values: Mapping[str, Sequence[float]],
    say: Callable[[str], None],
    file: Path | None = None,
) -> None:
    """Print a line of values for each class, and their means; write them to `file`, if given.

    Args:
        classes: the C names.
        counts: name -> of each class; the last one is printed.
        values: name -> of each class, in [0, 1]; NaN: none. They are printed without "ap_".
    """
    titles = [name.replace("ap_", "") for name in values]
    widths = [max(10, len(title) + 2) for title in titles]
    last_count, rows = list(counts)[-1], []
    say(f"{'class':14}{last_count.removeprefix('n_'):>9}" + "".join(map(str.rjust, titles, widths)))
    for column, class_name in enumerate(classes):
        of_class = [each[column] for each in values.values()]
        cells = ["" if math.isnan(value) else f"{value:.6f}" for value in of_class]
        rows.append([class_name, *(each[column] for each in counts.values()), *cells])
        say(f"{class_name:14}{counts[last_count][column]:>9,}" + "".join(map(_shown, of_class, widths)))
    say(f"{'mean':14}{'':9}" + "".join(map(_shown, map(mean_of_classes, values.values()), widths)))
    if file is not None:
        write_csv(file, ["class", *counts, *values], rows)


def mean_of_classes(values: Sequence[float]) -> float:
    """The mean over the classes that have a value."""
    return float(torch.tensor(values, dtype=torch.float64).nanmean())


def _shown(value: float, width: int) -> str:
    return ("-" if math.isnan(value) else f"{value:.1%}").rjust(width)
