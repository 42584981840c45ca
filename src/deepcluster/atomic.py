"""Files that are there whole or not at all: written beside their place, synced, then moved onto it."""

import os
from pathlib import Path


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write `content` to `path`; a kill or a full disk leaves the old file as it was and no new one.

    Raises:
        OSError: if it cannot be written, for example when the disk is full; names the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")  # one name, so that a kill's left-over is overwritten
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OSError(error.errno, f"{error.strerror}; {path.name} is as it was before", str(path)) from error
