"""All that is told of a run while it goes on: to metrics.csv, which must succeed, and to a logger, which may fail.

reassign.py and report.py call it in every epoch, run.py at the end. Only the main process tells anybody.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor

from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.history import FOLDER, SAMPLES
from deepcluster.clustering.metrics import label_shares
from deepcluster.system import distributed
from deepcluster.tracking.logger import Logger
from deepcluster.tracking.recorder import Place, Recorder, Row, Table, remember, remembered
from deepcluster.training.csv_log import EpochCSV

# Values whose best epoch is logged at the end, from metrics.csv: a resumed run knows all its epochs there.
BEST = {
    "train/loss": min,
    "train/accuracy": max,
    "cluster/nmi_labels": max,
    "cluster/nmi_previous": max,
    "cluster/moved_share": min,
}
TRAINING_S = "time/training_s"  # of an epoch's end, as train/...; the other times are of its start
MOST_ROWS = 10_000  # of the table of clusters: Weights & Biases shows no more


class RunRecord:
    """What a run tells of itself.

    Args:
        csv: metrics.csv; None in a process that tells nothing.
        folder: the run's.
        logger: what is wanted.
        recorder: the logger, opened; None where nobody else is told.
        picture: an assignment and a title -> some of its clusters, as a picture.
        labels: (N,) true labels for the table of clusters, -1 where there is none, or None.
        classes: their names, or None.
        say: tells the user a line.
    """

    def __init__(
        self,
        csv: EpochCSV | None = None,
        *,
        folder: Path | None = None,
        logger: Logger | None = None,
        recorder: Recorder | None = None,
        picture: Callable[[Assignment, str], Image] | None = None,
        labels: Tensor | None = None,
        classes: list[str] | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.csv = csv
        self.folder = folder or Path()
        self.logger = logger or Logger()
        self.recorder = recorder
        self.picture = picture
        self.labels = labels
        self.classes = classes
        self.say = say
        self.missed: list[Row] = []  # what the logger could not take; it is offered again with the next row
        self.is_failing = False
        self._last_step = -1
        if recorder is not None:
            known = recorder.last_step
            self._last_step = remembered(self.folder, self.logger.kind).get("step", -1) if known is None else known
        self._is_complete = False  # whether the logger holds the rows of the processes before this one

    def reassigned(self, epoch: int, numbers: dict[str, float], assignment: Assignment, n_reassignments: int) -> None:
        """New clusters at the start of an epoch.

        Args:
            n_reassignments: so far, with this one.
        """
        if self.csv is not None:
            self.csv.log_metrics({**numbers, "epoch": epoch})
        step = 3 * epoch + 1
        if self.recorder is None or step <= self._last_step:
            return
        draws = self.logger.draws(n_reassignments)
        self._row(
            Row(
                epoch=epoch,
                step=step,
                numbers=numbers,
                sizes=assignment.sizes(),
                picture=self._drawn(assignment, f"epoch {epoch}") if draws else None,
            )
        )
        if self.logger.keeps(last=False):
            self._files("assignment", f"epoch_{epoch:05d}")

    def epoch_ended(self, epoch: int, numbers: dict[str, float]) -> None:
        """An epoch's training is done."""
        if self.csv is not None:
            self.csv.log_metrics({**numbers, "epoch": epoch})
        self._row(Row(epoch=epoch, step=3 * epoch + 2, numbers=numbers))

    def ended(self, epochs: int, assignment: Assignment, figures: dict[str, float], table: Table) -> None:
        """The run is done, and its files are written.

        Args:
            epochs: trained.
            assignment: by the finished network.
            figures: of the trained and the untrained network.
            table: the same, to read.
        """
        if self.recorder is None:
            return
        step = 3 * epochs  # not the next epoch's first: the run may be trained on
        if step > self._last_step:
            draws = self.logger.draws(1)
            self._row(
                Row(
                    epoch=epochs,
                    step=step,
                    sizes=assignment.sizes(),
                    picture=self._drawn(assignment, f"after {epochs} epochs") if draws else None,
                    tables={"figures": table, "clusters": self._clusters(assignment)},
                )
            )
        recorder = self.recorder
        self._try(lambda: recorder.summary({**figures, **self._best()}, epochs))
        if self.logger.keeps(last=True):
            self._files("assignment", "final", self.folder / "clusters.csv")
        if self.logger.keeps_checkpoint():
            path = self.folder / "checkpoints" / "final.ckpt"
            self._try(lambda: recorder.files("model", "final", [path]))

    def close(self, status: str) -> None:
        """End: "finished", "failed" or "stopped"."""
        if self.recorder is not None:
            recorder, self.recorder = self.recorder, None
            self._try(lambda: recorder.close(status))

    def _row(self, row: Row) -> None:
        recorder = self.recorder
        if recorder is None or row.step <= self._last_step:
            return
        if not self._is_complete:
            self.missed += self._lost(row.step)
            self._is_complete = True
        self.missed.append(row)

        def log() -> None:
            while self.missed:
                recorder.row(self.missed[0])
                self._last_step = self.missed.pop(0).step
            remember(self.folder, self.logger.kind, step=self._last_step)

        if not self._try(log):
            for waiting in self.missed:
                waiting.picture = None  # they would fill the memory

    def _lost(self, until: int) -> list[Row]:
        """Rows of metrics.csv that the logger does not hold: a kill, or it was chosen after the run had begun.

        Args:
            until: the step of the first row that comes anyway.
        """
        assert self.csv is not None
        found = []
        for epoch, values in sorted(self.csv.rows.items()):
            numbers = {
                name: float(value) for name, value in values.items() if name != "epoch" and value not in ("", None)
            }
            end = {name: value for name, value in numbers.items() if name.startswith("train/") or name == TRAINING_S}
            start = {name: value for name, value in numbers.items() if name not in end}
            for step, part in ((3 * epoch + 1, start), (3 * epoch + 2, end)):
                if part and self._last_step < step < until:
                    found.append(Row(epoch=epoch, step=step, numbers=part))
        return found

    def _files(self, kind: str, name: str, *more: Path) -> None:
        recorder, folder = self.recorder, self.folder / FOLDER
        assert recorder is not None
        self._try(lambda: recorder.files(kind, name, [folder / SAMPLES, folder / f"{name}.npz", *more]))

    def _drawn(self, assignment: Assignment, title: str) -> Image | None:
        drawn: list[Image] = []
        if self.picture is not None:
            picture = self.picture
            self._try(lambda: drawn.append(picture(assignment, title)))
        return drawn[0] if drawn else None

    def _try(self, work: Callable[[], None]) -> bool:
        """Do what may fail. Nobody's training ends because a server, a disk of theirs or a picture failed."""
        try:
            work()
        except Exception as error:
            if not self.is_failing:
                told = str(error).splitlines()[0] if str(error) else type(error).__name__
                self.say(f"{self.logger.kind:10} failed ({told}); the run goes on, metrics.csv has its numbers")
            self.is_failing = True
            return False
        if self.is_failing:
            self.say(f"{self.logger.kind:10} answers again")
        self.is_failing = False
        return True

    def _best(self) -> dict[str, float]:
        """The best value of some metrics over all epochs."""
        assert self.csv is not None
        best = {}
        for name, choose in BEST.items():
            values = [float(row[name]) for row in self.csv.rows.values() if row.get(name) not in (None, "")]
            if values:
                best[f"best/{name}"] = choose(values)
        return best

    def _clusters(self, assignment: Assignment) -> Table:
        """A line per cluster, the largest first: its size and, with labels, its commonest class."""
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
                named = None if label < 0 else self.classes[label] if self.classes else str(label)
                row += [named, None if label < 0 else float(shares[c])]
        return Table(columns=columns, rows=rows)


@contextmanager
def recording(
    logger: Logger,
    place: Place,
    *,
    picture: Callable[[Assignment, str], Image],
    labels: Tensor | None,
    classes: list[str] | None,
) -> Iterator[RunRecord]:
    """A run's record, with its logger opened; closed with how the run ended.

    Raises:
        ValueError: if the logger cannot be reached.
    """
    record = RunRecord(folder=place.folder, logger=logger)
    if distributed.is_main_process():
        record = RunRecord(
            EpochCSV(place.folder / "metrics.csv"),
            folder=place.folder,
            logger=logger,
            recorder=logger.open(place),
            picture=picture,
            labels=labels,
            classes=classes,
            say=place.say,
        )
    status = "failed"
    try:
        yield record
        status = "finished"
    except (KeyboardInterrupt, SystemExit):  # Lightning turns the one into the other
        status = "stopped"
        raise
    finally:
        record.close(status)
