"""Which rows an offline run of Weights & Biases has on disk: a kill takes the last seconds with it.

W&B's own process writes the file and confirms nothing, so a note of ours would also count rows that the kill took:
only the file tells which of them metrics.csv must refill. It is LevelDB's log format with a protobuf in each record;
wandb has no public reader of it, and since 0.31 no reader in Python at all.
"""

import contextlib
import json
import struct
from pathlib import Path
from typing import Any

HEADER, BLOCK = 7, 2**15  # bytes: of the file and of each part; what no part crosses
WHOLE, LAST = 1, 4
ROW_STEP = "_row_step"  # a value of each row: its step in tracker.py's counting, which callbacks' rows do not shift


def records(path: Path) -> list[Any]:
    """All whole records of a .wandb file, as wandb's protobuf messages."""
    from wandb.proto import wandb_internal_pb2

    data, at, content, messages = path.read_bytes(), HEADER, b"", []
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
            messages.append(record)
            content = b""
    return messages


def last_steps(folder: Path, run_id: str) -> tuple[int | None, int]:
    """The ROW_STEP of the last row on disk, and W&B's own last step; -1 if no row is there.

    The first is None where it is unknown: there are no files, rows from before ROW_STEP, or files of a format that
    cannot be read.

    Args:
        folder: in which wandb/offline-run-* are.
    """
    files = list(folder.glob(f"wandb/offline-run-*/run-{run_id}.wandb"))
    with contextlib.suppress(Exception):  # another version's format
        rows = [r.history for file in files for r in records(file) if r.WhichOneof("record_type") == "history"]
        steps = [row.step.num for row in rows]
        row_steps = [
            json.loads(item.value_json) for row in rows for item in row.item if ROW_STEP in (item.key, *item.nested_key)
        ]
        last_row = max(row_steps, default=None if steps or not files else -1)
        return last_row, max(steps, default=-1)
    return None, -1
