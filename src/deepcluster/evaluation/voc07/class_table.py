"""Reports the average precision of each class: a table for the terminal and a CSV file."""

import math
from collections.abc import Callable
from pathlib import Path

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
    numbers, rows = means(by_rule), []
    say(f"{'class':14}{'positive':>9}" + "".join(f"{rule:>10}" for rule in by_rule))
    for column, class_name in enumerate(split.classes):
        n_images, n_positive = (int((split.labels[:, column] >= least).sum()) for least in (0, 1))
        values = [of_rule[column] for of_rule in by_rule.values()]
        rows.append([class_name, n_images, n_positive, *("" if math.isnan(v) else f"{v:.6f}" for v in values)])
        shown = "".join(f"{'-' if math.isnan(value) else f'{value:.1%}':>10}" for value in values)
        say(f"{class_name:14}{n_positive:>9,}{shown}")
    say(f"{'mean':14}{'':9}" + "".join(f"{value:>10.1%}" for value in numbers.values()))
    if file is not None:
        write_csv(file, ["class", "n_images", "n_positive", *(f"ap_{rule}" for rule in by_rule)], rows)
    return numbers
