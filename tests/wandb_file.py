"""Reads what Weights & Biases wrote offline: the .wandb file, LevelDB's log format with a protobuf in each record."""

import json
import struct
import time
from pathlib import Path
from typing import Any

HEADER, BLOCK = 7, 2**15  # bytes: of the file and of each part; what no part crosses


def records(path: Path) -> list[Any]:
    """All whole records."""
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
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(content)
            found.append(record)
            content = b""
    return found


class OfflineRun:
    """One offline-run folder, read after its process has written the last record (wandb writes asynchronously).

    Args:
        folder: offline-run-DATE_TIME-ID.
        until: the kind of record to wait for; "exit" is the last of a run that was ended.
    """

    def __init__(self, folder: Path, until: str = "exit") -> None:
        self.folder = folder
        (self.file,) = folder.glob("run-*.wandb")
        deadline = time.monotonic() + 60
        while not self.of(until) and time.monotonic() < deadline:
            time.sleep(0.1)

    def of(self, kind: str) -> list[Any]:
        return [getattr(record, kind) for record in records(self.file) if record.WhichOneof("record_type") == kind]

    @property
    def run(self) -> Any:
        return self.of("run")[0]

    @property
    def config(self) -> dict[str, Any]:
        return {item.key: json.loads(item.value_json) for item in self.run.config.update}

    @property
    def history(self) -> list[dict[str, Any]]:
        """Each logged row: _step -> its values; nested ones as dictionaries."""
        return [_nested(history.item) for history in self.of("history")]

    @property
    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for summary in self.of("summary"):
            found |= {item.key: json.loads(item.value_json) for item in summary.update if item.key}
        return found


def _nested(items: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in items:
        *groups, name = item.nested_key or [item.key]
        node = found
        for group in groups:
            node = node.setdefault(group, {})
        node[name] = json.loads(item.value_json)
    return found
