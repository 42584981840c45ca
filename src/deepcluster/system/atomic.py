"""Files that are written completely or not at all, damage that is noticed, and a lock on a run's folder."""

import errno
import io
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


def write_atomically(path: Path, content: bytes | memoryview, *, previous: Path | None = None) -> None:
    """Write `content` to `path`; a kill or a full disk leaves the old file as it was.

    Args:
        previous: where the old file, if there is one, is moved to.

    Raises:
        OSError: if it cannot be written, for example because the disk is full; names the file.
    """
    with opened_atomically(path, previous=previous) as file:
        file.write(content)


def save_atomically(path: Path, content: object) -> None:
    """torch.save, by :func:`write_atomically`."""
    import torch  # here, as it takes a second and the command line imports this file

    buffer = io.BytesIO()  # on a full disk torch.save itself would raise another error than OSError
    torch.save(content, buffer)
    write_atomically(path, buffer.getbuffer())


@contextmanager
def opened_atomically(path: Path, *, previous: Path | None = None) -> Iterator[BinaryIO]:
    """Open a temporary file to write to, which becomes `path` at the end; see :func:`write_atomically`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")  # always the same: the next write replaces what a kill left behind
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if previous is not None and path.is_file():
            _add_name(path, previous)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OSError(error.errno, f"{error.strerror or error}; {path.name} is as it was before", str(path)) from error


def _add_name(path: Path, previous: Path) -> None:
    """Give the file `path` the second name `previous`; so there is a file `path` at any moment."""
    link = previous.with_name(f".{previous.name}.part")
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:  # a disk without hard links
        os.replace(path, previous)
    else:
        os.replace(link, previous)


def read_json(path: Path) -> Any:
    """The content of a JSON file; {} if there is none.

    Raises:
        ValueError: naming the file, if it is damaged.
    """
    try:
        return json.loads(path.read_text()) if path.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); delete it to go on without it") from error


def find_damage(path: Path) -> str | None:
    """Which part of a file of torch.save or numpy.savez is damaged; None if none is, or the file has no checksums.

    torch.load does not compare checksums: it loaded all of 300 files with one bit changed in their tensors.

    Raises:
        OSError: if the file cannot be read.
    """
    with path.open("rb") as opened:
        if opened.read(4) != b"PK\x03\x04":  # torch.save's old format
            return None
    try:
        with zipfile.ZipFile(path) as file:
            # Where a changed bit marks a part as a folder, torch reads no bytes: the tensor is whatever was in memory.
            folders = (info.filename for info in file.infolist() if info.external_attr & 0x10)
            name = next(folders, None) or file.testzip()
    except Exception as error:  # damaged bytes raise BadZipFile, zlib.error, struct.error ...
        if (
            isinstance(error, OSError) and error.errno != errno.EINVAL
        ):  # EINVAL: damaged bytes name a place before the file's beginning
            raise
        return str(error) or "it ends too early"
    return None if name is None else f"{name.partition('/')[2] or name} does not fit its checksum"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock the folder for this process: a second run would overwrite its checkpoints.

    The lock ends with the process, however it ends, and worker processes do not inherit it. Where there are no such
    locks (Windows, some network disks) nothing is locked.

    Raises:
        ValueError: if another process has locked it.
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
        except (BlockingIOError, PermissionError) as error:  # POSIX allows both
            raise ValueError(
                f"another process is running in {folder}; wait until it ends, or choose another output_dir"
            ) from error
        except OSError:
            pass
        yield
