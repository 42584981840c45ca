"""A tracker: one of Lightning's loggers that also takes whole rows, pictures and files, and never ends a run.

Next: settings.py, how it is chosen; on_wandb.py, on_mlflow.py, on_tensorboard.py, one tracker each.
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

MOST_BINS = 50


@dataclass(kw_only=True)
class Table:
    """A table to read.

    Args:
        columns: their titles.
        rows: as many values each as there are columns.
    """

    columns: list[str]
    rows: list[list[str | int | float | None]]


@dataclass(kw_only=True)
class Row:
    """What a run tells at one moment; a tracker takes all of it or nothing.

    Args:
        epoch: the x axis: epochs count from 0, as in metrics.csv; the finished network has the next one.
        step: grows from row to row and is the same for the same moment, also in a resumed run.
        numbers: part/name -> value.
        sizes: (K,) images in each cluster.
        picture: members of some clusters.
        tables: by name.
    """

    epoch: int
    step: int
    numbers: dict[str, float] = field(default_factory=dict)
    sizes: Tensor | None = None
    picture: Image | None = None
    tables: dict[str, Table] = field(default_factory=dict)


class Tracker(Logger):
    """Stands before one of Lightning's loggers in a class's bases; open for one run, in the main process only.

    The `log_...` methods of this class raise what goes wrong; the run's record calls them through :meth:`attempt`.
    What a callback or `self.log` tells the same logger by Lightning's methods cannot fail the run either.

    Args:
        run: whose tracker it is.
        last_step: of the last row that the tracker holds, -1 for none; None: all that it was given.
        lightning: what Lightning's logger is made with.
    """

    kind: str

    def __init__(self, run: TrackedRun, *, last_step: int | None = None, **lightning: Any) -> None:
        super().__init__(**lightning)
        self.folder = run.folder
        self.say = run.say
        self.comfort = "results.json has the numbers"
        if run.job == "train":
            self.comfort = "the run goes on, metrics.csv has its numbers"
        self.last_step = last_step
        self.is_failing = False

    @abstractmethod
    def log_row(self, row: Row) -> None:
        """Log one moment."""

    @abstractmethod
    def log_files(self, kind: str, name: str, paths: list[Path]) -> None:
        """Keep files of the run's folder that belong together.

        Args:
            kind: "assignment" or "model".
            name: tells those of one kind apart: "epoch_00003", "final".
        """

    @abstractmethod
    def log_summary(self, numbers: dict[str, float], epoch: int) -> None:
        """Log what stands for the network after `epoch` epochs of training."""

    @abstractmethod
    def close(self, status: str) -> None:
        """End: "finished", "failed", or "stopped" by a person or the machine's scheduler."""

    def attempt(self, work: Callable[[], None]) -> bool:
        """Do what may fail: no training ends because a server, its disk or a picture failed. Say it once.

        Returns:
            Whether it was done.
        """
        try:
            work()
        except Exception as error:
            if not self.is_failing:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                self.say(f"{self.kind:10} failed ({reason}); {self.comfort}")
            self.is_failing = True
            return False
        if self.is_failing:
            self.say(f"{self.kind:10} answers again")
        self.is_failing = False
        return True

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """What callbacks and `self.log` tell."""
        log = super().log_metrics  # type: ignore[safe-super]  # of the Lightning logger that follows
        self.attempt(lambda: log(dict(metrics), step))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """What callbacks tell; the run's own config was logged when the tracker was opened."""
        log = super().log_hyperparams  # type: ignore[safe-super]
        self.attempt(lambda: log(params, *args, **kwargs))

    def save(self) -> None:
        """Nothing: each row is written as it is logged, and Lightning's hparams.yaml would repeat config.yaml."""

    def finalize(self, status: str = "success") -> None:
        """Nothing: training has ended, and the finished network's figures are still to come. See :meth:`close`."""

    @property
    def save_dir(self) -> str:
        """Below which Lightning's ModelCheckpoint writes, too."""
        return str(self.folder)


def size_histogram(sizes: Tensor) -> tuple[list[int], list[float]]:
    """How many clusters have which size: counts (b,), which sum to K, and the edges of the bins (b + 1,)."""
    values = sizes.cpu().numpy()
    low, high = int(values.min()), int(values.max())
    n_bins = min(MOST_BINS, math.ceil(2 * math.sqrt(len(values))))
    width = -(-(high - low + 1) // n_bins)  # a whole number, so that each bin takes in as many sizes
    edges = np.arange(low, high + 1 + width, width) - 0.5
    counts, _ = np.histogram(values, edges)
    return counts.tolist(), edges.tolist()
