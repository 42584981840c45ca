"""The run that a tracker is opened for, and what is kept of it in logged.json: its id and the last row it was given."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepcluster.system.atomic import write_atomically

MEMORY = "logged.json"  # in the run's folder


@dataclass(kw_only=True)
class TrackedRun:
    """The run, or the evaluation, that a tracker is opened for.

    Args:
        folder: of the run or of the evaluation; the tracker writes there.
        config: all settings, nested.
        say: prints a line for the user.
        job: "train" or "eval".
        of_run: for an evaluation, the folder of the run whose network it evaluates, if there is one.
    """

    folder: Path
    config: dict[str, Any]
    say: Callable[[str], None]
    job: str = "train"
    of_run: Path | None = None


def remembered(folder: Path, kind: str) -> dict[str, Any]:
    """What was kept for this kind of tracker in a run's folder; {} if nothing."""
    file = folder / MEMORY
    content: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.is_file() else {}
    return content.get(kind, {})


def remember(folder: Path, kind: str, **values: Any) -> None:
    """Keep values for :func:`remembered`, beside those that are there."""
    file = folder / MEMORY
    content = json.loads(file.read_text()) if file.is_file() else {}
    content[kind] = {**content.get(kind, {}), **values}
    write_atomically(file, (json.dumps(content, indent=2) + "\n").encode())
