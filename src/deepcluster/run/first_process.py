"""What the first process finds out, perhaps before there is a process group, and the others read from a file.

For k_choice.py and new_groups.py.
"""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deepcluster.system import distributed
from deepcluster.system.atomic import write_atomically

WAIT_S = 0.1


def found_by_first(
    file: Path, of: list[Any], find: Callable[[], dict[str, Any]], *, minutes: float, setting: str, instead: str
) -> dict[str, Any]:
    """What `find` gives in the first process, which writes it into a file; the others wait for it.

    Args:
        file: JSON, in the run's folder; what it holds of the same is not looked for again.
        of: what decides the result.
        find: its values must be what JSON can hold.
        minutes: to wait, at most.
        setting: that asks for it; instead: one that does not.

    Raises:
        TimeoutError: in another process, if the file does not come.
    """
    text = json.dumps(of, sort_keys=True, default=str)
    settings = hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=16).hexdigest()
    content = _read(file, settings)
    if content is None and distributed.is_main_process():
        content = {"settings": settings, **find()}
        write_atomically(file, (json.dumps(content, indent=2) + "\n").encode())
    end = time.monotonic() + 60 * minutes
    while content is None:
        if time.monotonic() > end:
            raise TimeoutError(
                f"{setting}: {file}, which the first process writes, did not come in {minutes:g} minutes; the "
                f"processes of several machines need output_dir on a disk that they share, or {instead}"
            )
        time.sleep(WAIT_S)
        content = _read(file, settings)
    return content


def _read(file: Path, settings: str) -> dict[str, Any] | None:
    """What the file holds; None if it is not there, damaged, or of something else."""
    try:
        content: dict[str, Any] = json.loads(file.read_text())
        return content if content["settings"] == settings else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
