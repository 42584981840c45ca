"""Every folder below a root and the images in it, in threads. Next: index.py remembers them and puts them in order.

What counts as an image is the law of photographs.py; what is left out is counted by left_out.py.
"""

import errno
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from deepcluster.data.sources import left_out as reasons
from deepcluster.data.sources import photographs
from deepcluster.data.sources.left_out import LeftOut
from deepcluster.system.names import name_order
from deepcluster.system.threads import in_threads, n_cores

_SETTLED_NS = 2_000_000_000  # a folder that changed so shortly before it was listed may change again in the same tick
_REPORT_EVERY_S = 10.0
_LONGEST_PATH = 4095  # bytes, of Linux; other systems allow less and say so themselves
_LONGEST_NAME = 255
_HEAD_BYTES = 32
_PASSED_OVER = {  # errors of one folder that are no reason to stop
    errno.EACCES: reasons.DENIED,
    errno.EPERM: reasons.DENIED,
    errno.ENAMETOOLONG: reasons.LONG,
    errno.ELOOP: reasons.LINK,
}

_log = logging.getLogger(__name__)
Identity = tuple[int, int]  # device and inode of a folder


class _Place(NamedTuple):
    """A folder to look at: its path, "" or ending with "/", and whether a link is on the way to it."""

    path: str
    by_link: bool = False


@dataclass
class Listed:
    """What lies in a folder.

    Args:
        changed: its time of change, nanoseconds.
        settled: it changed long enough before it was listed, and all in it was read; else it is listed again next time.
        listing: names of images and folders, sorted, each followed by a zero byte, folders by "/" and a zero byte.
        folders: names of the folders in it.
        links: names of the links to folders in it.
        left_out: what is not read of it, and why.
    """

    changed: int
    settled: bool
    listing: bytes | memoryview
    folders: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)

    @property
    def names(self) -> list[str]:
        return os.fsdecode(bytes(self.listing)).split("\0")[:-1]

    @property
    def images(self) -> list[str]:
        return [name for name in self.names if not name.endswith("/")]

    def emptied(self, reason: str, path: str, *, settled: bool) -> "Listed":
        """The same folder, left out."""
        return Listed(self.changed, self.settled and settled, b"", left_out=LeftOut([(reason, path)]))


class _Visit(NamedTuple):
    """What a look at a folder gave.

    Args:
        identity: None if it could not be read.
        listed: None if it is left out.
        is_new: it was listed now.
        unknown: files whose first bytes decide.
        reason: why it is left out; "": it is gone.
    """

    place: _Place
    identity: Identity | None = None
    listed: Listed | None = None
    is_new: bool = True
    unknown: Sequence[str] = ()
    reason: str = ""


def walk(root: str, known: dict[str, Listed], timeout_s: float | None) -> tuple[dict[str, Listed], int]:
    """Every folder below root by its path, and how many had to be listed. Level by level, each in threads.

    Links to folders come last, so that a folder below root is read by its own path.
    """
    folders: dict[str, Listed] = {}
    seen: set[Identity] = set()
    n_listed = 0
    started = reported = time.monotonic()
    level, links = [_Place("")], list[_Place]()

    def report(n_done: int) -> None:
        nonlocal reported
        if time.monotonic() - reported > _REPORT_EVERY_S:
            reported = time.monotonic()
            n_folders = f"{len(folders) + n_done:,}"
            _log.info("looking for images in %s: %s folders, %.0f s", root, n_folders, reported - started)

    def in_parallel(items: Sequence[Any], work: Callable[[Any], Any], name: Callable[[Any], str]) -> list[Any]:
        n_threads = 4 * n_cores()  # more than cores: on a network disk each waits for its answer
        return in_threads(items, work, n_threads=n_threads, timeout_s=timeout_s, name=name, report=report)

    while level:
        visits: list[_Visit] = in_parallel(
            level,
            lambda place: _visit(root, place, known, seen),
            lambda place: f"the folder {os.path.join(root, place.path)}",
        )
        unknown = [(visit, name) for visit in visits for name in visit.unknown]
        paths = [os.path.join(root, visit.place.path, name) for visit, name in unknown]
        are_images = in_parallel(paths, _is_image, lambda path: path)
        images = {visit.place.path: list[str]() for visit, _ in unknown}
        for (visit, name), is_image in zip(unknown, are_images, strict=True):
            images[visit.place.path] += [name] * is_image
        below: list[_Place] = []
        for place, identity, listed, is_new, _, reason in visits:
            n_listed += is_new
            repeated = place.by_link and identity in seen
            if listed is None or repeated:
                _leave_out(folders, place.path, reasons.LINK if repeated else reason)
                continue
            assert identity is not None, "what was listed has an identity"
            seen.add(identity)
            if images.get(place.path):
                listed.listing = _listing([*listed.names, *images[place.path]])
            if place.path and _is_of_thumbnails(folders, place.path, listed):
                listed = listed.emptied(reasons.THUMBNAILS, place.path, settled=False)
            folders[place.path] = listed
            below += [_Place(f"{place.path}{name}/", place.by_link) for name in listed.folders]
            links += [_Place(f"{place.path}{name}/", True) for name in listed.links]
        level, links = (below, links) if below else (links, [])
    return folders, n_listed


def _leave_out(folders: dict[str, Listed], path: str, reason: str) -> None:
    """Note why a folder is not read. The one above is listed again next time, when this one may be readable."""
    parent = folders[folder_above(path)]
    parent.settled = False
    if reason:
        parent.left_out[reason, path] = 1


def _is_of_thumbnails(folders: dict[str, Listed], path: str, listed: Listed) -> bool:
    name = path[:-1].rpartition("/")[2]
    beside = folders[folder_above(path)]
    return photographs.may_be_thumbnails(name) and photographs.are_thumbnails(listed.images, beside.images)


def folder_above(path: str) -> str:
    """The folder that a folder lies in."""
    return path[: path.rfind("/", 0, -1) + 1]


def _visit(root: str, place: _Place, known: dict[str, Listed], seen: set[Identity]) -> _Visit:
    path = os.path.join(root, place.path)
    now = time.time_ns()
    try:
        status = os.stat(path)
        identity = (status.st_dev, status.st_ino)
        if place.by_link and identity in seen:
            return _Visit(place, identity, is_new=False, reason=reasons.LINK)
        old = known.get(place.path)
        if old is not None and old.settled and old.changed == status.st_mtime_ns:
            return _Visit(place, identity, old, is_new=False)
        with os.scandir(path) as entries:
            inside = list(entries)
        if not os.access(path, os.X_OK):  # its names can be read, its files cannot
            raise PermissionError(errno.EACCES, "no permission", path)
    except (FileNotFoundError, NotADirectoryError):  # a link whose target is gone, or removed a moment ago
        if not place.path:
            raise
        return _Visit(place)
    except OSError as error:
        if not place.path or error.errno not in _PASSED_OVER:
            raise
        return _Visit(place, reason=_PASSED_OVER[error.errno])
    listed = Listed(status.st_mtime_ns, status.st_mtime_ns < now - _SETTLED_NS, b"")
    if place.path and photographs.is_ours({entry.name for entry in inside}):
        return _Visit(place, identity, listed.emptied(reasons.OURS, place.path, settled=True))
    room = _LONGEST_PATH - len(os.fsencode(os.path.join(os.path.abspath(root), place.path)))
    unknown = _list(listed, inside, place.path, room)
    return _Visit(place, identity, listed, unknown=unknown)


def _list(listed: Listed, inside: list[os.DirEntry[str]], path: str, room: int) -> list[str]:
    """Sort what lies in a folder into `listed`; the names of files whose first bytes decide are returned.

    Args:
        path: the folder's, for what is left out.
        room: how many bytes a name in it may have.
    """
    images: list[str] = []
    unknown: list[str] = []
    for entry in inside:
        name = entry.name
        try:
            is_folder, is_file = entry.is_dir(), entry.is_file()
        except OSError as error:  # of a link's target
            listed.left_out[_PASSED_OVER.get(error.errno or 0, reasons.LINK), path + name] += 1
            listed.settled = False
            continue
        if is_file and photographs.is_plain_image(name) and room > _LONGEST_NAME:  # nearly all files: no more questions
            images.append(name)
            continue
        reason, what = _why_not(name, is_folder)
        if not reason and len(os.fsencode(name)) > room:
            reason, what = reasons.LONG, path + name
        if reason:
            listed.left_out[reason, what] += 1
        elif is_folder:
            (listed.links if entry.is_symlink() else listed.folders).append(name)
        elif photographs.is_image_name(name):
            if is_file or entry.is_symlink():
                images.append(name)
            else:  # reading one may never end (links are followed, with reading.timeout_s)
                _log.warning("%s is a pipe, a socket or a device and is left out", entry.path)
        elif is_file and photographs.may_be_image(name) and not photographs.is_hidden(name):
            unknown.append(name)
    listed.folders = photographs.folders_of_library(path, sorted(listed.folders, key=name_order))
    listed.links.sort(key=name_order)
    listed.listing = _listing([*images, *(f"{name}/" for name in [*listed.folders, *listed.links])])
    return unknown


def _why_not(name: str, is_folder: bool) -> tuple[str, str]:
    """Reason and group of what is left out by its name; ("", "") of the rest."""
    if photographs.is_hidden(name):
        if is_folder:
            return reasons.HIDDEN_FOLDER, ""
        return (reasons.HIDDEN_FILE, "") if photographs.is_image_name(name) else ("", "")
    if is_folder:
        return (reasons.SYSTEM, name) if photographs.is_of_system(name) else ("", "")
    return (reasons.FORMAT, photographs.extension(name)) if photographs.is_unread_format(name) else ("", "")


def _is_image(path: str) -> bool:
    """By its first bytes; a file that cannot be read and has no image's name is none."""
    try:
        with open(path, "rb", buffering=0) as file:
            return photographs.starts_as_image(file.read(_HEAD_BYTES))
    except OSError:
        return False


def _listing(names: Sequence[str]) -> bytes:
    """Names, folders with a slash, as :class:`Listed` holds them."""
    key = str if "".join(names).isascii() else name_order  # the same order, in a fifth of the time
    ordered = sorted(names, key=lambda name: key(name.removesuffix("/")))
    return os.fsencode("".join(f"{name}\0" for name in ordered))
