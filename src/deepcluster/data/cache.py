"""What was found out about unchanged files is remembered between runs. Used by scan.py and statistics.py."""

import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from deepcluster.data.reading_settings import Reading
from deepcluster.data.settings import Source
from deepcluster.system.atomic import find_damage

_LEFT_OVER_S = 3600.0  # a part that is being written was changed a moment ago
_log = logging.getLogger(__name__)


def fingerprint(*parts: object, files: Iterable[tuple[str, str]] = ()) -> str:
    """A hash of the parts and of every file's (name, path): its name, size and time of change."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=16)
    for name, path in files:
        try:
            status = os.stat(path)
            facts = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            facts = "unreadable"
        digest.update(f"{name!r} {facts}\n".encode())
    return digest.hexdigest()


def read(
    settings: Source, reading: Reading, name: str, key: str, *, of_root_only: bool = False
) -> dict[str, Any] | None:
    """The entry of this name, if written for this key; its tensors are mapped from the disk, not copied.

    Args:
        of_root_only: it depends on data.root, however the files are decoded.
    """
    path = _path(settings, reading, name, of_root_only)
    if path is None or not path.is_file():
        return None
    try:
        if (why := find_damage(path)) is not None:
            raise ValueError(why)
        entry: dict[str, Any] = torch.load(path, mmap=True, weights_only=True)
    except Exception as error:  # a damaged entry only costs its time: it is made again
        _log.warning("cache entry %s is damaged and will be made again: %s", path, error)
        return None
    return entry if entry.get("key") == key else None


def write(
    settings: Source, reading: Reading, name: str, key: str, entry: dict[str, Any], *, of_root_only: bool = False
) -> None:
    """Remember an entry of tensors and plain Python; an older one of this name is replaced."""
    path = _path(settings, reading, name, of_root_only)
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_overs(path)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
            try:
                torch.save({"key": key, **entry}, file)
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        _log.warning("nothing remembered in %s (%s); the next start takes as long as this one", path, error)


def _remove_left_overs(path: Path) -> None:
    """Parts that a killed process left; several processes may be writing one entry now, each its own part."""
    for name in os.listdir(path.parent):
        part = path.parent / name
        if name.startswith(path.name) and part != path and part.stat().st_mtime < time.time() - _LEFT_OVER_S:
            part.unlink(missing_ok=True)


def folder_of(reading: Reading) -> Path | None:
    """reading.cache_dir, or the user's cache folder; None if nothing is to be remembered."""
    if reading.cache_dir == "none":
        return None
    if reading.cache_dir is not None:
        return Path(reading.cache_dir)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deepcluster"
    except RuntimeError:  # no HOME and a user whom the system does not know, as in docker run --user 12345
        return None


def _path(settings: Source, reading: Reading, name: str, of_root_only: bool) -> Path | None:
    folder = folder_of(reading)
    if folder is None:
        return None
    # One entry per set and reading; a changed set replaces its own, so the folder does not grow for ever.
    facts = settings.files
    if not of_root_only:
        facts += (reading.stored_size, settings.n_channels, reading.in_memory, settings.limit)
        if reading.decode != "full":  # so that entries of before this was a setting stay good
            facts += (reading.decode,)
        if reading.max_value != 65_535:
            facts += (f"white {reading.max_value}",)
    return folder / f"{name}-{fingerprint(*facts)}.pt"
