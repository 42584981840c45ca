"""Log a run: to metrics.csv, where a failure ends the run, and to a tracker, where it does not.

reassign.py and report.py call it in every epoch, run/train.py at the end. Only the main process logs.
"""

import csv
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from pytorch_lightning.loggers import CSVLogger, Logger
from pytorch_lightning.loggers.logger import DummyLogger
from torch import Tensor

from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.history import FOLDER, SAMPLES
from deepcluster.clustering.metrics import label_shares
from deepcluster.system import distributed
from deepcluster.system.tables import write_records
from deepcluster.tracking.settings import LoggerSettings
from deepcluster.tracking.tracked_run import TrackedRun, read_logged, update_logged
from deepcluster.tracking.tracker import Row, Table, Tracker

# The best value over all epochs is logged at the end. metrics.csv has all epochs, also those before a resume.
BEST = {
    "train/loss": min,
    "train/accuracy": max,
    "cluster/nmi_labels": max,
    "cluster/nmi_previous": max,
    "cluster/moved_share": min,
}
AT_THE_END = ("train/", "health/", "time/training_s")  # names of what is logged at an epoch's end, not at its start
MOST_ROWS = 10_000  # of the table of clusters; Weights & Biases shows no more


class MetricsCSV(CSVLogger):
    """metrics.csv: one row per epoch, readable while the run goes on and continued by a resumed run.

    A value that is logged again in an epoch replaces the earlier one, so what a callback logs at each step appears
    with its last value. Lightning's own CSVLogger has a row per step, and deletes the file of a run that it resumes.

    Args:
        folder: the run's; rows that its metrics.csv already holds are kept.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, name="", version="")
        self.path = folder / "metrics.csv"
        self.rows: dict[int, dict[str, Any]] = {}
        self.epoch = 0
        self._is_written = True
        if self.path.exists():
            with self.path.open(newline="") as file:
                self.rows = {int(row["epoch"]): dict(row) for row in csv.DictReader(file)}

    def begin_epoch(self, epoch: int) -> None:
        """Set the epoch for numbers that are logged without one."""
        self.epoch = epoch

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:  # type: ignore[override]
        """Add values to the row of metrics["epoch"], or of the epoch that has begun; `save` writes them."""
        epoch = int(metrics.get("epoch", self.epoch))
        numbers = {name: float(v) for name, v in metrics.items() if isinstance(v, int | float) or _is_number(v)}
        numbers.pop("epoch", None)
        self.rows.setdefault(epoch, {"epoch": epoch}).update(numbers)
        self._is_written = False

    def save(self) -> None:
        """Write the whole file, if it has changed; it is replaced in one step, so it is never half written."""
        if not self._is_written:
            write_records(self.path, [row for _, row in sorted(self.rows.items())])
            self._is_written = True

    def finalize(self, status: str) -> None:
        self.save()

    def log_hyperparams(self, params: Any = None) -> None:
        """Do nothing: config.yaml holds the settings."""

    @property
    def experiment(self) -> Any:
        """This object: Lightning's own writer would delete metrics.csv when it opens it."""
        return self


def _is_number(value: Any) -> bool:
    return isinstance(value, Tensor) and value.numel() == 1


class RunRecord:
    """Logs a run to metrics.csv and to a tracker.

    Args:
        metrics: metrics.csv; None in a process that does not log.
        folder: the run's.
        settings: the group `logger`.
        tracker: the open tracker; None with logger=csv.
        picture: draws some clusters of an assignment, under a title.
        labels: (N,) true labels for the table of clusters, -1 for an image without one; None without labels.
        classes: names of the labels, or None.
    """

    def __init__(
        self,
        metrics: MetricsCSV | None = None,
        *,
        folder: Path | None = None,
        settings: LoggerSettings | None = None,
        tracker: Tracker | None = None,
        picture: Callable[[Assignment, str], Image] | None = None,
        labels: Tensor | None = None,
        classes: list[str] | None = None,
    ) -> None:
        self.metrics = metrics
        self.folder = folder or Path()
        self.settings = settings or LoggerSettings()
        self.tracker = tracker
        self.picture = picture
        self.labels = labels
        self.classes = classes
        self._pending: list[Row] = []  # rows that the tracker failed to log; tried again with the next row
        self._last_step = -1  # of the last row that the tracker holds
        if tracker is not None:
            stored_step = read_logged(self.folder, self.settings.kind).get("step", -1)
            self._last_step = stored_step if tracker.last_step is None else tracker.last_step
        self._has_earlier_rows = False  # the tracker holds, or has pending, all rows from before this process

    @property
    def loggers(self) -> list[Logger]:
        """The loggers for Lightning's Trainer; the tracker, if there is one, comes first and is `trainer.logger`."""
        if self.metrics is None:
            return [DummyLogger()]  # some callbacks refuse to work without a logger
        return [self.metrics] if self.tracker is None else [self.tracker, self.metrics]

    def epoch_began(self, epoch: int) -> None:
        """Say which epoch begins, or continues after a resume."""
        if self.metrics is not None:
            self.metrics.begin_epoch(epoch)

    def reassigned(self, epoch: int, numbers: dict[str, float], assignment: Assignment, n_reassignments: int) -> None:
        """Log a reassignment at the start of an epoch.

        Args:
            numbers: part/name -> value.
            n_reassignments: how many there were so far, including this one.
        """
        self._write(epoch, numbers)
        step = 3 * epoch + 1
        if self.tracker is None or step <= self._last_step:
            return
        draws = self.settings.draws_picture(n_reassignments)
        self._log(
            Row(
                epoch=epoch,
                step=step,
                numbers=numbers,
                sizes=assignment.sizes(),
                picture=self._draw(assignment, f"epoch {epoch}") if draws else None,
            )
        )
        if self.settings.keeps_assignment(last=False):
            self._log_assignment_files(f"epoch_{epoch:05d}")

    def epoch_ended(self, epoch: int, numbers: dict[str, float]) -> None:
        """Log the numbers of an epoch's training."""
        self._write(epoch, numbers)
        self._log(Row(epoch=epoch, step=3 * epoch + 2, numbers=numbers))

    def ended(self, epochs: int, assignment: Assignment, figures: dict[str, float], table: Table) -> None:
        """Log the end of the run, whose files are written already.

        Args:
            epochs: how many were trained.
            assignment: the trained network's.
            figures: of the trained and the untrained network.
            table: the same figures as a table.
        """
        tracker = self.tracker
        if tracker is None:
            return
        step = 3 * epochs  # below the next epoch's first step, 3 * epochs + 1: training may be continued
        if step > self._last_step:
            draws = self.settings.draws_picture(1)
            self._log(
                Row(
                    epoch=epochs,
                    step=step,
                    sizes=assignment.sizes(),
                    picture=self._draw(assignment, f"after {epochs} epochs") if draws else None,
                    tables={"figures": table, "clusters": self._clusters_table(assignment)},
                )
            )
        tracker.attempt(lambda: tracker.log_summary({**figures, **self._best()}, epochs))
        if self.settings.keeps_assignment(last=True):
            self._log_assignment_files("final", self.folder / "clusters.csv")
        if self.settings.keeps_checkpoint():
            path = self.folder / "checkpoints" / "final.ckpt"
            tracker.attempt(lambda: tracker.log_files("model", "final", [path]))

    def close(self, status: str) -> None:
        """Close the tracker with a status: "finished", "failed" or "stopped"."""
        if self.tracker is not None:
            tracker, self.tracker = self.tracker, None
            tracker.attempt(lambda: tracker.close(status))

    def _write(self, epoch: int, numbers: dict[str, float]) -> None:
        if self.metrics is not None:
            self.metrics.log_metrics({**numbers, "epoch": epoch})
            self.metrics.save()

    def _log(self, row: Row) -> None:
        tracker = self.tracker
        if tracker is None or row.step <= self._last_step:
            return
        if not self._has_earlier_rows:
            self._pending += self._missing_rows(row.step)
            self._has_earlier_rows = True
        self._pending.append(row)

        def log() -> None:
            while self._pending:
                tracker.log_row(self._pending[0])
                self._last_step = self._pending.pop(0).step
            update_logged(self.folder, self.settings.kind, step=self._last_step)

        if not tracker.attempt(log):
            for pending in self._pending:
                pending.picture = None  # many pictures would fill the memory

    def _missing_rows(self, until: int) -> list[Row]:
        """Rows of metrics.csv that the tracker lacks, after a kill or because it was chosen after the run had begun.

        Args:
            until: only rows of steps below this one.
        """
        assert self.metrics is not None
        rows = []
        for epoch, values in sorted(self.metrics.rows.items()):
            numbers = {
                name: float(value) for name, value in values.items() if name != "epoch" and value not in ("", None)
            }
            end = {name: value for name, value in numbers.items() if name.startswith(AT_THE_END)}
            start = {name: value for name, value in numbers.items() if name not in end}
            for step, part in ((3 * epoch + 1, start), (3 * epoch + 2, end)):
                if part and self._last_step < step < until:
                    rows.append(Row(epoch=epoch, step=step, numbers=part))
        return rows

    def _log_assignment_files(self, name: str, *more: Path) -> None:
        tracker, folder = self.tracker, self.folder / FOLDER
        assert tracker is not None
        files = [folder / SAMPLES, folder / f"{name}.npz", *more]
        tracker.attempt(lambda: tracker.log_files("assignment", name, files))

    def _draw(self, assignment: Assignment, title: str) -> Image | None:
        """The picture; None if drawing fails."""
        pictures: list[Image] = []
        if self.picture is not None and self.tracker is not None:
            picture = self.picture
            self.tracker.attempt(lambda: pictures.append(picture(assignment, title)))
        return pictures[0] if pictures else None

    def _best(self) -> dict[str, float]:
        """The best value of some metrics over all epochs."""
        assert self.metrics is not None
        best = {}
        for name, choose in BEST.items():
            values = [float(row[name]) for row in self.metrics.rows.values() if row.get(name) not in (None, "")]
            if values:
                best[f"best/{name}"] = choose(values)
        return best

    def _clusters_table(self, assignment: Assignment) -> Table:
        """A row per cluster, the largest first: its size and, with labels, its commonest class."""
        sizes = assignment.sizes()
        order = torch.argsort(sizes, descending=True, stable=True)[:MOST_ROWS]
        columns, n_images = ["cluster", "images", "share"], len(assignment.labels)
        rows: list[list[str | int | float | None]] = [
            [c, int(sizes[c]), int(sizes[c]) / n_images] for c in order.tolist()
        ]
        if self.labels is not None and bool((self.labels >= 0).any()):
            columns += ["class", "class_share"]
            majority, shares = label_shares(self.labels, assignment.labels, assignment.k)
            for row, c in zip(rows, order.tolist(), strict=True):
                label = int(majority[c])
                name = None if label < 0 else self.classes[label] if self.classes else str(label)
                row += [name, None if label < 0 else float(shares[c])]
        return Table(columns=columns, rows=rows)


@contextmanager
def recording(
    settings: LoggerSettings,
    run: TrackedRun,
    *,
    picture: Callable[[Assignment, str], Image],
    labels: Tensor | None,
    classes: list[str] | None,
) -> Iterator[RunRecord]:
    """Open a run's record and tracker; close the tracker with the status with which the run ended.

    Raises:
        ValueError: if the tracker cannot be reached.
    """
    record = RunRecord(folder=run.folder, settings=settings)
    if distributed.is_main_process():
        record = RunRecord(
            MetricsCSV(run.folder),
            folder=run.folder,
            settings=settings,
            tracker=settings.open(run),
            picture=picture,
            labels=labels,
            classes=classes,
        )
    status = "failed"
    try:
        yield record
        status = "finished"
    except (KeyboardInterrupt, SystemExit):  # Lightning may turn the first into the second
        status = "stopped"
        raise
    finally:
        record.close(status)
