"""What a logger is told of a run, in the same words for all, and what it remembers in the run's folder.

Next: logger.py, the settings; on_wandb.py, on_mlflow.py, on_tensorboard.py, the adapters.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL.Image import Image
from torch import Tensor

from deepcluster.system.atomic import write_atomically

MEMORY = "logged.json"  # in the run's folder: under which id each logger knows the run, and its last step
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
    """What is logged at one moment of a run; a logger writes all of it or nothing.

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


class Recorder(Protocol):
    """One logger, opened for one run. Any of these may fail; training/record.py tells it and goes on.

    Args:
        last_step: the last row that it holds, -1 for none; None: all that it was given, which is remembered.
    """

    last_step: int | None

    def row(self, row: Row) -> None:
        """Log one moment."""

    def files(self, kind: str, name: str, paths: list[Path]) -> None:
        """Keep files of the run's folder that belong together.

        Args:
            kind: "assignment" or "model".
            name: tells those of one kind apart: "epoch_00003", "final".
        """

    def summary(self, numbers: dict[str, float], epoch: int) -> None:
        """Log what stands for the network after `epoch` epochs of training."""

    def close(self, status: str) -> None:
        """End: "finished", "failed", or "stopped" by a person or the machine's scheduler."""


@dataclass(kw_only=True)
class Place:
    """Whom a logger is opened for.

    Args:
        folder: of the run or of the evaluation; the logger writes there.
        config: all settings, nested.
        say: tells the user a line.
        job: "train" or "eval".
        of_run: for an evaluation, the folder of the run whose network it evaluates, if there is one.
    """

    folder: Path
    config: dict[str, Any]
    say: Callable[[str], None]
    job: str = "train"
    of_run: Path | None = None


def remembered(folder: Path, kind: str) -> dict[str, Any]:
    """What a logger has kept in a run's folder; {} if nothing."""
    file = folder / MEMORY
    content: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.is_file() else {}
    return content.get(kind, {})


def remember(folder: Path, kind: str, **values: Any) -> None:
    """Keep values for :func:`remembered`, beside those that are there."""
    file = folder / MEMORY
    content = json.loads(file.read_text()) if file.is_file() else {}
    content[kind] = {**content.get(kind, {}), **values}
    write_atomically(file, (json.dumps(content, indent=2) + "\n").encode())


def size_histogram(sizes: Tensor) -> tuple[list[int], list[float]]:
    """How many clusters have which size: counts (b,), which sum to K, and the edges of the bins (b + 1,)."""
    values = sizes.cpu().numpy()
    low, high = int(values.min()), int(values.max())
    n_bins = min(MOST_BINS, math.ceil(2 * math.sqrt(len(values))))
    width = -(-(high - low + 1) // n_bins)  # a whole number, so that each bin takes in as many sizes
    edges = np.arange(low, high + 1 + width, width) - 0.5
    counts, _ = np.histogram(values, edges)
    return counts.tolist(), edges.tolist()


def flat(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested config as group.key -> value, for loggers that know no groups."""
    found: dict[str, Any] = {}
    for name, value in node.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found
