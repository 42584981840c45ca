"""Which image files lie under a folder: found once, remembered, and looked for again only where folders changed.

Next: folder.py makes a set of them. A folder's time of change tells whether files were added, removed or renamed in
it, so a later start asks for that of every folder, and lists only those that changed. A file that is written over in
place changes no folder and is not noticed here.
"""

import logging
import mimetypes
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from deepcluster.data import cache
from deepcluster.data.reading_settings import Reading
from deepcluster.data.settings import Folder
from deepcluster.data.sources.paths import Paths
from deepcluster.system.threads import in_threads, n_cores

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".npy")
N_REMEMBERED = 10_000  # fewer files are found again in less time than an index deserves
_LAW = 2  # of finding and of the entry: raised when the same folders would give other files
_SETTLED_NS = 2_000_000_000  # a folder that changed so shortly before it was listed may change again in the same tick
_REPORT_EVERY_S = 10.0

HIDDEN = (".", "__MACOSX")

_log = logging.getLogger(__name__)
Ints = NDArray[np.int64]
Identity = tuple[int, int]  # device and inode: of the folders on the way down, against circles of links


class _Place(NamedTuple):
    """A folder to look at: its path, "" or ending with "/", and the identities of those above it."""

    path: str
    above: tuple[Identity, ...]


@dataclass
class _Listed:
    """What lies in a folder.

    Args:
        changed: its time of change, nanoseconds.
        settled: it changed long enough before it was listed; else it is listed again next time.
        listing: names of images and folders, sorted, each followed by a zero byte, folders by "/" and a zero byte.
        folders: names of the folders in it.
        others: images of other formats by extension, counted when it was listed.
    """

    changed: int
    settled: bool
    listing: bytes | memoryview
    folders: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)


def find_images(folder: str, settings: Folder, reading: Reading) -> tuple[Paths, str]:
    """The image files below a folder, and a fingerprint that changes when files are added, removed or renamed.

    In the order of a walk that takes each folder's entries by name. Names that begin with "." or "__MACOSX" are left
    out; links to folders are followed, but not in circles. From `N_REMEMBERED` files on the answer is remembered in
    reading.cache_dir.
    """
    name, key = f"index-{blake2b(os.fsencode(os.path.abspath(folder)), digest_size=8).hexdigest()}", f"law {_LAW}"
    entry = cache.read(settings, reading, name, key, of_root_only=True)
    found, n_listed = _walk(folder, {} if entry is None else _remembered(entry), reading.timeout_s)
    others = sum((listed.others for listed in found.values()), Counter[str]())
    if others:
        kinds = ", ".join(f"{n:,} {kind}" for kind, n in others.most_common())
        _log.warning("%s: %s files are left out; convert them to one of %s", folder, kinds, " ".join(EXTENSIONS))
    if entry is not None and n_listed == 0:
        return _paths(entry), entry["fingerprint"]
    entry = _entry(found)
    if len(entry["starts"]) >= N_REMEMBERED:
        cache.write(settings, reading, name, key, entry, of_root_only=True)
    return _paths(entry), entry["fingerprint"]


def _walk(root: str, known: dict[str, _Listed], timeout_s: float | None) -> tuple[dict[str, _Listed], int]:
    """Every folder below root by its path, and how many had to be listed. Level by level, each in threads."""
    found: dict[str, _Listed] = {}
    n_listed = 0
    started = reported = time.monotonic()
    level = [_Place("", ())]

    def report(n_done: int) -> None:
        nonlocal reported
        if time.monotonic() - reported > _REPORT_EVERY_S:
            reported = time.monotonic()
            n_folders = f"{len(found) + n_done:,}"
            _log.info("looking for images in %s: %s folders, %.0f s", root, n_folders, reported - started)

    while level:
        below: list[_Place] = []
        visited = in_threads(
            level,
            lambda place: _visit(root, place, known),
            n_threads=4 * n_cores(),  # more than cores: on a network disk each waits for its answer
            timeout_s=timeout_s,
            name=lambda place: f"the folder {os.path.join(root, place.path)}",
            report=report,
        )
        for place, identity, folder, is_new in visited:
            n_listed += is_new
            if folder is not None:
                found[place.path] = folder
                below += [_Place(f"{place.path}{name}/", (*place.above, identity)) for name in folder.folders]
        level = below
    return found, n_listed


def _visit(root: str, place: _Place, known: dict[str, _Listed]) -> tuple[_Place, Identity, _Listed | None, bool]:
    """The folder's listing, None if it is one of those above or gone; and if something is new."""
    path = os.path.join(root, place.path)
    now = time.time_ns()
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        if place.path in known:  # a link whose target is gone
            return place, (0, 0), None, True
        raise
    identity = (status.st_dev, status.st_ino)
    if identity in place.above:
        return place, identity, None, False
    old = known.get(place.path)
    if old is not None and old.settled and old.changed == status.st_mtime_ns:
        return place, identity, old, False
    with os.scandir(path) as entries:
        seen = [entry for entry in entries if not entry.name.startswith(HIDDEN) and not _is_special(entry)]
        names = sorted((entry.name, entry.is_dir()) for entry in seen)
    kept = [(name, is_folder) for name, is_folder in names if is_folder or name.lower().endswith(EXTENSIONS)]
    listing = os.fsencode("".join(f"{name}/\0" if is_folder else f"{name}\0" for name, is_folder in kept))
    folders = [name for name, is_folder in kept if is_folder]
    settled = status.st_mtime_ns < now - _SETTLED_NS
    others = Counter(_extension(name) for name, is_folder in names if not is_folder and _is_other_image(name))
    return place, identity, _Listed(status.st_mtime_ns, settled, listing, folders, others), True


def _is_special(entry: os.DirEntry[str]) -> bool:
    """A pipe, a socket or a device: reading one may never end. (Links are followed, with reading.timeout_s.)"""
    if entry.is_dir() or entry.is_file() or entry.is_symlink():
        return False
    if entry.name.lower().endswith(EXTENSIONS):
        _log.warning("%s is a pipe, a socket or a device and is left out", entry.path)
    return True


def _is_other_image(name: str) -> bool:
    is_image = (mimetypes.guess_type(name, strict=False)[0] or "").startswith("image/")
    return is_image and not name.lower().endswith(EXTENSIONS)


def _extension(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _entry(found: dict[str, _Listed]) -> dict[str, Any]:
    """All folders and files as arrays: what is remembered, and what `Paths` reads."""
    listing = np.frombuffer(b"".join(folder.listing for folder in found.values()), np.uint8)
    offsets = _sums([len(folder.listing) for folder in found.values()])
    folders = np.frombuffer(os.fsencode("".join(f"{path}\0" for path in found)), np.uint8)
    changed = np.array([folder.changed for folder in found.values()])
    ends = np.flatnonzero(listing == 0)
    begins = np.concatenate([[0], ends + 1])[:-1]
    run_folders, firsts, lasts = _runs(found, np.searchsorted(ends, offsets), listing[ends - 1] == ord("/"))
    sizes = lasts - firsts
    run_starts = _sums(sizes)[:-1]
    files = np.repeat(firsts - run_starts, sizes) + np.arange(sizes.sum())
    fingerprint = blake2b(digest_size=16)
    for part in (listing, offsets, changed, folders):
        fingerprint.update(np.ascontiguousarray(part).data)
    arrays = {
        "listing": listing,
        "offsets": offsets,
        "folders": folders,
        "changed": changed,
        "settled": np.array([folder.settled for folder in found.values()]),
        "starts": begins[files],
        "lengths": (ends - begins)[files].astype(np.uint8),
        "run_starts": run_starts,
        "run_folders": run_folders,
    }
    return {
        **{name: torch.from_numpy(np.array(array)) for name, array in arrays.items()},
        "fingerprint": fingerprint.hexdigest(),
    }


def _runs(found: dict[str, _Listed], first_entry: Ints, is_folder: NDArray[np.bool_]) -> tuple[Ints, Ints, Ints]:
    """Series of files that follow each other in the walk and in one listing: its folder, first and last + 1 entry.

    Args:
        first_entry: (folders + 1,), the first entry of each folder among all.
        is_folder: of each entry.
    """
    number = {path: i for i, path in enumerate(found)}
    runs: list[tuple[int, int, int]] = []

    def walk(path: str) -> None:
        folder = number[path]
        first, last = int(first_entry[folder]), int(first_entry[folder + 1])
        below = (first + np.flatnonzero(is_folder[first:last])).tolist()
        names = os.fsdecode(bytes(found[path].listing)).split("\0") if below else []
        for entry, name in zip(below, (name for name in names if name.endswith("/")), strict=True):
            if entry > first:
                runs.append((folder, first, entry))
            if f"{path}{name}" in number:  # not those that lead in circles
                walk(f"{path}{name}")
            first = entry + 1
        if last > first:
            runs.append((folder, first, last))

    walk("")
    table = np.array(runs, np.int64).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]


def _remembered(entry: dict[str, Any]) -> dict[str, _Listed]:
    """The folders of an entry, in its order; their listings stay on the disk until they are read."""
    listing = memoryview(entry["listing"].numpy())
    offsets = entry["offsets"].tolist()
    known: dict[str, _Listed] = {}
    facts = zip(_folders(entry), entry["changed"].tolist(), entry["settled"].tolist(), strict=True)
    for i, (path, changed, settled) in enumerate(facts):
        known[path] = _Listed(changed, settled, listing[offsets[i] : offsets[i + 1]])
        if path:
            above, _, name = path[:-1].rpartition("/")
            known[f"{above}/" if above else ""].folders.append(name)
    return known


def _folders(entry: dict[str, Any]) -> list[str]:
    return os.fsdecode(entry["folders"].numpy().tobytes()).split("\0")[:-1]


def _paths(entry: dict[str, Any]) -> Paths:
    arrays = {name: entry[name].numpy() for name in ("listing", "starts", "lengths", "run_starts", "run_folders")}
    return Paths(folders=_folders(entry), **arrays)


def _sums(sizes: Any) -> Ints:
    """0, the first, the first two together, ..., all."""
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
