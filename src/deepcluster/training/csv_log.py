"""metrics.csv: one row per epoch, readable while the run goes on and continued by a resumed run."""

import csv
import io
from pathlib import Path
from typing import Any

from deepcluster.system.atomic import write_atomically


class EpochCSV:
    """Keeps one row per epoch; what is logged twice for an epoch, the later value wins.

    Lightning's CSVLogger deletes the file of the run that it continues, and mixes rows of steps and epochs.

    Args:
        path: the file; rows that it already holds are kept.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[int, dict[str, Any]] = {}
        if path.exists():
            with path.open(newline="") as file:
                self.rows = {int(row["epoch"]): dict(row) for row in csv.DictReader(file)}

    def log_metrics(self, metrics: dict[str, float]) -> None:
        """Add values to the row of metrics["epoch"]."""
        values = {name: value for name, value in metrics.items() if name != "epoch"}
        epoch = int(metrics["epoch"])
        self.rows.setdefault(epoch, {"epoch": epoch}).update(values)
        self.save()

    def save(self) -> None:
        """Write the whole file; a reader or a kill never meets half of it."""
        names = list(dict.fromkeys(name for row in self.rows.values() for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for _, row in sorted(self.rows.items()))
        write_atomically(self.path, text.getvalue().encode())
