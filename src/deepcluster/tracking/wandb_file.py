"""Which steps an offline run of Weights & Biases has on disk: a kill takes the last seconds with it.

The file is LevelDB's log format with a protobuf in each record. wandb has no public reader of it.
"""

import contextlib
import struct
from pathlib import Path
from typing import Any

HEADER, BLOCK = 7, 2**15  # bytes: of the file and of each part; what no part crosses
WHOLE, LAST = 1, 4


def records(path: Path) -> list[Any]:
    """All whole records of a .wandb file, as wandb's protobuf messages."""
    from wandb.proto import wandb_internal_pb2

    data, at, content, found = path.read_bytes(), HEADER, b"", []
    while at + HEADER <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + HEADER])
        if kind == 0 or at + HEADER + length > len(data):
            break
        content += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (WHOLE, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(content)
            found.append(record)
            content = b""
    return found


def last_step(folder: Path, run_id: str) -> int | None:
    """The last step that lies on disk, -1 if none does; None if there are no files, or none that can be read.

    Args:
        folder: in which wandb/offline-run-* are.
    """
    files = list(folder.glob(f"wandb/offline-run-*/run-{run_id}.wandb"))
    if not files:
        return None
    with contextlib.suppress(Exception):  # another version's format: then what is remembered must do
        steps = [
            record.history.step.num
            for file in files
            for record in records(file)
            if record.WhichOneof("record_type") == "history"
        ]
        return max(steps, default=-1)
    return None
