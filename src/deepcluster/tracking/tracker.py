"""A tracker: a logger of Lightning's that also takes rows of a run, pictures and files; its errors never end a run.

Next: on_wandb.py, on_mlflow.py, on_tensorboard.py, one tracker each; settings.py chooses one.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image
from pytorch_lightning.loggers import Logger
from torch import Tensor

from deepcluster.tracking.tracked_run import TrackedRun

MAX_BINS = 50  # of a histogram


@dataclass(kw_only=True)
class Table:
    """A table.

    Args:
        columns: their titles.
        rows: lists of values, one for each column.
    """

    columns: list[str]
    rows: list[list[str | int | float | None]]


@dataclass(kw_only=True)
class Row:
    """What a run logs at one moment; a tracker takes all of it or nothing.

    Args:
        epoch: the x axis. Epochs count from 0, as in metrics.csv; the finished network has the number after the last.
        step: a number that grows from row to row; a resumed run gives a moment the same number.
        numbers: part/name -> value.
        sizes: (K,) images in each cluster.
        picture: members of some clusters.
        tables: name -> table.
    """

    epoch: int
    step: int
    numbers: dict[str, float] = field(default_factory=dict)
    sizes: Tensor | None = None
    picture: Image | None = None
    tables: dict[str, Table] = field(default_factory=dict)


class Tracker(Logger):
    """The first base class of a tracker, before a logger of Lightning's. It logs one run, in the main process only.

    The `log_...` methods below raise errors; training/record.py calls them through :meth:`attempt`, which prints them.
    Lightning's own methods, which callbacks and `self.log` call, go through :meth:`attempt` themselves.

    Args:
        run: the run that is logged.
        last_step: the step of the last row that the tracker holds, -1 if there is none; None: it holds all rows that it
            was given.
        lightning: arguments of Lightning's logger.
    """

    kind: str

    def __init__(self, run: TrackedRun, *, last_step: int | None = None, **lightning: Any) -> None:
        super().__init__(**lightning)
        self.folder = run.folder
        self.say = run.say
        is_training = run.job == "train"
        self._numbers_are_in = (
            "the run goes on, metrics.csv has its numbers" if is_training else "results.json has the numbers"
        )
        self.last_step = last_step
        self.is_failing = False

    @abstractmethod
    def log_row(self, row: Row) -> None:
        """Log one moment."""

    @abstractmethod
    def log_files(self, kind: str, name: str, paths: list[Path]) -> None:
        """Keep a group of files from the run's folder.

        Args:
            kind: "assignment" or "model".
            name: of the group among those of its kind: "epoch_00003", "final".
        """

    @abstractmethod
    def log_summary(self, numbers: dict[str, float], epoch: int) -> None:
        """Log numbers that describe the network after `epoch` epochs of training."""

    @abstractmethod
    def close(self, status: str) -> None:
        """End the run there.

        Args:
            status: "finished", "failed", or "stopped" by the user or a scheduler.
        """

    def attempt(self, work: Callable[[], None]) -> bool:
        """Do work that may fail: no training ends because of a server, its disk or a picture.

        The first of several failures in a row is printed, and the first success after them.

        Returns:
            Whether the work was done.
        """
        try:
            work()
        except Exception as error:
            if not self.is_failing:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                self.say(f"{self.kind:10} failed ({reason}); {self._numbers_are_in}")
            self.is_failing = True
            return False
        if self.is_failing:
            self.say(f"{self.kind:10} answers again")
        self.is_failing = False
        return True

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log the numbers of callbacks and `self.log`."""
        log = super().log_metrics  # type: ignore[safe-super]  # of the logger of Lightning's that follows
        self.attempt(lambda: log(dict(metrics), step))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Log settings of callbacks; the run's own config was logged when the tracker was opened."""
        log = super().log_hyperparams  # type: ignore[safe-super]
        self.attempt(lambda: log(params, *args, **kwargs))

    def save(self) -> None:
        """Nothing: each row is written as it is logged, and Lightning's hparams.yaml would repeat config.yaml."""

    def finalize(self, status: str = "success") -> None:
        """Nothing: Lightning calls it after training, before the network is measured. See `close`."""

    @property
    def save_dir(self) -> str:
        """The run's folder; Lightning's ModelCheckpoint writes below it."""
        return str(self.folder)


def size_histogram(sizes: Tensor) -> tuple[list[int], list[float]]:
    """A histogram of cluster sizes.

    Args:
        sizes: (K,) images in each cluster.

    Returns:
        Counts of b bins, which sum to K, and their b + 1 edges.
    """
    values = sizes.cpu().numpy()
    low, high = int(values.min()), int(values.max())
    n_bins = min(MAX_BINS, math.ceil(2 * math.sqrt(len(values))))
    width = -(-(high - low + 1) // n_bins)  # a whole number, so that all bins hold equally many sizes
    edges = np.arange(low, high + 1 + width, width) - 0.5
    counts, _ = np.histogram(values, edges)
    return counts.tolist(), edges.tolist()
