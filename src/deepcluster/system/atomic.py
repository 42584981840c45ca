"""Files that are there whole or not at all, damage that is noticed, and a folder that one process writes to."""

import errno
import io
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, content: bytes | memoryview, *, previous: Path | None = None) -> None:
    """Write `content` to `path`; a kill or a full disk leaves the old file as it was and no new one.

    Args:
        previous: where the old file, if there is one, is kept.

    Raises:
        OSError: if it cannot be written, for example when the disk is full; names the file.
    """
    with opened_atomically(path, previous=previous) as file:
        file.write(content)


def save_atomically(path: Path, content: object) -> None:
    """torch.save, by :func:`write_atomically`."""
    import torch  # torch takes a second to import, and this file is read by the command line

    buffer = io.BytesIO()  # torch tells a full disk by other errors
    torch.save(content, buffer)
    write_atomically(path, buffer.getbuffer())


@contextmanager
def opened_atomically(path: Path, *, previous: Path | None = None) -> Iterator[BinaryIO]:
    """A file to write to, piece by piece, that becomes `path` at the end; see :func:`write_atomically`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(
        f".{path.name}.part"
    )  # always the same name, so that the next write replaces what a kill left
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if previous is not None and path.is_file():
            _keep(path, previous)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OSError(error.errno, f"{error.strerror or error}; {path.name} is as it was before", str(path)) from error


def _keep(path: Path, previous: Path) -> None:
    """Give the file this second name, so that there is always one of the old name."""
    link = previous.with_name(f".{previous.name}.part")
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:  # a disk without hard links
        os.replace(path, previous)
    else:
        os.replace(link, previous)


def damage(path: Path) -> str | None:
    """What does not fit its checksum in a file of torch.save or numpy.savez; None if all does, or it has none.

    torch does not compare checksums: it loaded all of 300 files with one bit changed in their tensors.

    Raises:
        OSError: if the disk cannot give the bytes.
    """
    with path.open("rb") as opened:
        if opened.read(4) != b"PK\x03\x04":  # torch.save's old format
            return None
    try:
        with zipfile.ZipFile(path) as file:
            # torch does not read what is marked as a folder (one bit): its tensors hold what was in memory.
            folders = (info.filename for info in file.infolist() if info.external_attr & 0x10)
            name = next(folders, None) or file.testzip()
    except Exception as error:  # damaged bytes raise many: BadZipFile, zlib.error, struct.error
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # a place before the file's beginning
            raise
        return str(error) or "it ends too early"
    return None if name is None else f"{name.partition('/')[2] or name} does not fit its checksum"


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
