"""metrics.csv: one row per epoch, readable while the run goes on and continued by a resumed run."""

import csv
import io
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.logger import rank_zero_experiment
from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.loggers.logger import Logger

from deepcluster.atomic import write_atomically


class EpochCSV(Logger):
    """A Lightning logger that keeps one row per epoch; what is logged twice for an epoch, the later value wins.

    Lightning's own CSVLogger deletes the file of the run that it continues, and mixes rows of steps and epochs.

    Args:
        path: the file; rows that it already holds are kept.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.rows: dict[int, dict[str, Any]] = {}
        if path.exists():
            with path.open(newline="") as file:
                self.rows = {int(row["epoch"]): dict(row) for row in csv.DictReader(file)}

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def version(self) -> str:
        return ""

    @property
    @rank_zero_experiment
    def experiment(self) -> "EpochCSV":
        return self

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run's folder holds its config."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if "epoch" not in metrics:
            return
        values = {name: value for name, value in metrics.items() if name != "epoch"}
        epoch = int(metrics["epoch"])
        self.rows.setdefault(epoch, {"epoch": epoch}).update(values)
        self.save()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Nothing: all is written. Lightning calls it after an error too, and a second one would hide the first."""

    @rank_zero_only
    def save(self) -> None:
        """Write the whole file; a reader or a kill never meets half of it."""
        names = list(dict.fromkeys(name for row in self.rows.values() for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for _, row in sorted(self.rows.items()))
        write_atomically(self.path, text.getvalue().encode())
