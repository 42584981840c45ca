"""TensorBoard: event files in the run's folder. A resumed run adds files whose steps follow."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning.loggers import TensorBoardLogger

from deepcluster.system.nested import flat
from deepcluster.tracking.tracked_run import TrackedRun
from deepcluster.tracking.tracker import Row, Table, Tracker

COMPARED = ("final/knn_accuracy", "final/linear_probe_accuracy", "final/nmi_labels")  # columns of its HPARAMS page


class TensorBoardTracker(Tracker, TensorBoardLogger):
    """Event files in tensorboard/ of the run's folder.

    Args:
        run: the run that is logged.
    """

    kind = "tensorboard"

    def __init__(self, run: TrackedRun) -> None:
        super().__init__(run, save_dir=run.folder, name="tensorboard", version="")
        is_new = not Path(self.log_dir).exists()
        writer = self.experiment
        if run.job == "train" and is_new:
            from torch.utils.tensorboard.summary import hparams

            writer.add_text("config", _as_code(json.dumps(run.config, indent=2, default=str)), 0)
            values = {name: v if isinstance(v, int | float) else str(v) for name, v in flat(run.config).items()}
            for summary in hparams(values, dict.fromkeys(COMPARED, 0)):  # type: ignore[no-untyped-call]
                writer._get_file_writer().add_summary(summary)
        run.say(f"tensorboard  tensorboard --logdir {run.folder}")

    def log_row(self, row: Row) -> None:
        writer = self.experiment
        for name, value in row.numbers.items():
            writer.add_scalar(name, value, row.epoch)
        if row.sizes is not None:
            writer.add_histogram("cluster/sizes", row.sizes, row.epoch)
        if row.picture is not None:
            pixels = np.asarray(row.picture.convert("RGB"))
            writer.add_image("clusters", pixels, row.epoch, dataformats="HWC")
        for name, table in row.tables.items():
            writer.add_text(f"table/{name}", _as_markdown(table), row.epoch)
        writer.flush()  # TensorBoard buffers two minutes, which a kill would lose

    def log_files(self, kind: str, name: str, paths: list[Path]) -> None:
        """Nothing: TensorBoard keeps no files, and these lie beside its own."""

    def log_summary(self, numbers: dict[str, float], epoch: int) -> None:
        for name, value in numbers.items():
            self.experiment.add_scalar(name, value, epoch)
        self.experiment.flush()

    def close(self, status: str) -> None:
        self.experiment.close()


def _as_code(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _as_markdown(table: Table) -> str:
    def line(cells: list[Any]) -> str:
        return "| " + " | ".join("" if cell is None else str(cell) for cell in cells) + " |"

    return "\n".join([line(table.columns), line(["---"] * len(table.columns)), *map(line, table.rows)])
