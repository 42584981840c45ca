"""The run that a tracker logs, and logged.json in its folder: the tracker's id of the run and the last row it took."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepcluster.system.atomic import read_json, write_atomically

LOGGED_FILE = "logged.json"


@dataclass(kw_only=True)
class TrackedRun:
    """The run, or the evaluation, that a tracker logs.

    Args:
        folder: of the run or of the evaluation; the tracker writes its files there.
        config: all settings, nested.
        say: prints a line for the user.
        job: "train" or "eval".
        of_run: of an evaluation, the folder of the run whose network is evaluated, if there is one.
    """

    folder: Path
    config: dict[str, Any]
    say: Callable[[str], None]
    job: str = "train"
    of_run: Path | None = None


def read_logged(folder: Path, kind: str) -> dict[str, Any]:
    """The values in a run's logged.json for this kind of tracker; {} if there are none."""
    content: dict[str, dict[str, Any]] = read_json(folder / LOGGED_FILE)
    return content.get(kind, {})


def update_logged(folder: Path, kind: str, **values: Any) -> None:
    """Add values for this kind of tracker to a run's logged.json."""
    file = folder / LOGGED_FILE
    content = read_json(file)
    content[kind] = {**content.get(kind, {}), **values}
    write_atomically(file, (json.dumps(content, indent=2) + "\n").encode())
