"""Reads which rows an offline run of Weights & Biases has on disk: a kill loses those of its last seconds.

A resumed run logs the lost rows again, from metrics.csv. Only the file says which ones they are: wandb's own process
writes it and confirms nothing. The file is in LevelDB's log format with a protobuf in each record; wandb has no public
reader of it, and since 0.31 no reader in Python at all.
"""

import contextlib
import json
import struct
from pathlib import Path
from typing import Any

HEADER = 7  # bytes, at the start of the file and of each part of a record
BLOCK = 2**15  # bytes; no part crosses the border of a block
WHOLE, LAST = 1, 4  # kinds of parts: a whole record, the last part of one
ROW_STEP = "_row_step"  # a value in each row: Row.step of tracker.py; W&B's own steps also count rows of callbacks


def records(path: Path) -> list[Any]:
    """All whole records of a .wandb file, as wandb's protobuf messages."""
    from wandb.proto import wandb_internal_pb2

    data, offset, content, messages = path.read_bytes(), HEADER, b"", []
    while offset + HEADER <= len(data):
        left_in_block = BLOCK - offset % BLOCK
        if left_in_block < HEADER:
            offset += left_in_block
            continue
        _, length, kind = struct.unpack("<IHB", data[offset : offset + HEADER])
        if kind == 0 or offset + HEADER + length > len(data):
            break
        content += data[offset + HEADER : offset + HEADER + length]
        offset += HEADER + length
        if kind in (WHOLE, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(content)
            messages.append(record)
            content = b""
    return messages


def last_steps(folder: Path, run_id: str) -> tuple[int | None, int]:
    """The ROW_STEP of the last row on disk, and W&B's own last step; -1 if there is no row.

    The ROW_STEP is None where it is unknown: there are no files, their rows have none (an older version wrote them), or
    their format cannot be read.

    Args:
        folder: the run's, with wandb/offline-run-*.
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
