"""Reads what Weights & Biases wrote offline."""

import json
import time
from pathlib import Path
from typing import Any

from deepcluster.tracking.wandb_file import records


class OfflineRun:
    """One offline-run folder, read after its process has written the last record (wandb writes asynchronously).

    Args:
        folder: offline-run-DATE_TIME-ID.
        ended: wait for the record that ends it; a killed run has none.
    """

    def __init__(self, folder: Path, *, ended: bool = True) -> None:
        self.folder = folder
        (self.file,) = folder.glob("run-*.wandb")
        deadline = time.monotonic() + 60
        while ended and not self.of("exit") and time.monotonic() < deadline:
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
        """Each logged row; nested values as dictionaries."""
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
