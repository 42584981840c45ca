"""What a run logged, epoch by epoch, read from its metrics.csv. Next: curves_chart.py draws it."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FILE = "metrics.csv"  # training/record.py writes it


@dataclass(kw_only=True)
class RunCurves:
    """One run's metrics, epoch by epoch.

    Args:
        name: for the legend.
        epochs: (E,) counted from 1.
        values: column -> (E,) float64, NaN in epochs without a value, such as those without a new assignment.
    """

    name: str
    epochs: NDArray[np.int64]
    values: dict[str, NDArray[np.float64]]

    def last(self, column: str) -> float | None:
        """The newest value of a column; None if there is none."""
        values = self.values.get(column, np.empty(0))
        values = values[np.isfinite(values)]
        return float(values[-1]) if len(values) else None


def metrics_file(path: Path) -> Path:
    """metrics.csv of a run's folder, or the file itself.

    Raises:
        FileNotFoundError: if there is none.
    """
    file = path if path.suffix == ".csv" else path / FILE
    if not file.is_file():
        raise FileNotFoundError(
            f"no {file}: curves are drawn from the {FILE} of a run's folder, which has one after its first epoch; "
            "give such folders in ckpt=... and evaluation.others=[...]"
        )
    return file.absolute()


def read_run(file: Path, name: str) -> RunCurves:
    """Read a metrics.csv; cells that are empty or absent become NaN.

    Raises:
        ValueError: if the file holds no epochs, or is no run's metrics.csv.
    """
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            reader = csv.DictReader(opened)
            rows = sorted(reader, key=lambda row: int(row["epoch"]))
        columns = [column for column in reader.fieldnames or () if column != "epoch"]
        values = {column: np.array([float(row[column] or "nan") for row in rows]) for column in columns}
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise ValueError(f"{file} is not the {FILE} of a run: {error!r}") from error
    if not rows:
        raise ValueError(f"{file} holds no epoch yet")
    return RunCurves(name=name, epochs=np.array([int(row["epoch"]) + 1 for row in rows]), values=values)


def distinct_names(folders: list[Path]) -> list[str]:
    """The folders' names, with as many parent folders as tell them apart; numbered if a folder stands twice."""
    for n_parts in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = ["/".join(folder.parts[-n_parts:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [f"{folder.name} ({number})" for number, folder in enumerate(folders, 1)]
