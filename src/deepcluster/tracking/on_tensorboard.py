"""TensorBoard: event files in the run's folder; a resumed run adds its own, whose steps follow."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepcluster.tracking.logger import Pictured, require
from deepcluster.tracking.recorder import Place, Recorder, Row, Table, flat

COMPARED = ("final/knn_accuracy", "final/linear_probe_accuracy", "final/nmi_labels")  # columns of its HPARAMS page


@dataclass(kw_only=True)
class TensorBoard(Pictured):
    """TensorBoard.

    Args:
        kind: "tensorboard".
    """

    kind: str = "tensorboard"

    def check(self) -> None:
        require("tensorboard", "tensorboard")

    def open(self, place: Place) -> Recorder | None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        folder = place.folder / "tensorboard"
        is_new = not folder.exists()
        writer = SummaryWriter(str(folder))
        if place.job == "train" and is_new:
            text = json.dumps(place.config, indent=2, default=str)
            writer.add_text("config", _as_code(text), 0)
            values = {name: v if isinstance(v, int | float) else str(v) for name, v in flat(place.config).items()}
            for summary in hparams(values, dict.fromkeys(COMPARED, 0)):  # type: ignore[no-untyped-call]
                writer._get_file_writer().add_summary(summary)  # type: ignore[no-untyped-call]
        place.say(f"tensorboard  tensorboard --logdir {place.folder}")
        return TensorBoardRecorder(writer)


class TensorBoardRecorder:
    """One folder of event files. It keeps no other files: they lie beside it in the run's folder."""

    def __init__(self, writer: Any) -> None:
        self.writer = writer
        self.last_step: int | None = None

    def row(self, row: Row) -> None:
        for name, value in row.numbers.items():
            self.writer.add_scalar(name, value, row.epoch)
        if row.sizes is not None:
            self.writer.add_histogram("cluster/sizes", row.sizes, row.epoch)
        if row.picture is not None:
            pixels = np.asarray(row.picture.convert("RGB"))
            self.writer.add_image("clusters", pixels, row.epoch, dataformats="HWC")
        for name, table in row.tables.items():
            self.writer.add_text(f"table/{name}", _as_markdown(table), row.epoch)
        self.writer.flush()  # a kill would lose the two minutes that it buffers

    def files(self, kind: str, name: str, paths: list[Path]) -> None:
        """Nothing."""

    def summary(self, numbers: dict[str, float], epoch: int) -> None:
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, epoch)
        self.writer.flush()

    def close(self, status: str) -> None:
        self.writer.close()


def _as_code(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _as_markdown(table: Table) -> str:
    def line(cells: list[Any]) -> str:
        return "| " + " | ".join("" if cell is None else str(cell) for cell in cells) + " |"

    return "\n".join([line(table.columns), line(["---"] * len(table.columns)), *map(line, table.rows)])
