"""Files that are there whole or not at all, and a folder that one process at a time writes to."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write `content` to `path`; a kill or a full disk leaves the old file as it was and no new one.

    Raises:
        OSError: if it cannot be written, for example when the disk is full; names the file.
    """
    with opened_atomically(path) as file:
        file.write(content)


@contextmanager
def opened_atomically(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, piece by piece, that becomes `path` at the end; see :func:`write_atomically`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")  # one name, so that a kill's left-over is overwritten
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OSError(error.errno, f"{error.strerror}; {path.name} is as it was before", str(path)) from error


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep the folder to this process: a second one would write over its checkpoints.

    The lock ends with the process, however it ends, and worker processes do not inherit it. Where there are no
    such locks (Windows, some network disks) nothing is held.

    Raises:
        ValueError: if another process holds it.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:  # POSIX leaves open which of the two it is
            raise ValueError(
                f"another process is running in {folder}; wait until it ends, or choose another output_dir"
            ) from error
        except OSError:
            pass
        yield
