"""Which image files lie under a folder: found once, remembered, and looked for again only where folders changed.

Next: folder.py makes a set of them. A folder's time of change tells whether files were added, removed or renamed in
it, so a later start asks for that of every folder, and lists only those that changed. A file that is written over in
place changes no folder and is not noticed here.
"""

import os
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deepcluster.data import cache
from deepcluster.data.reading_settings import Reading
from deepcluster.data.settings import Folder
from deepcluster.data.sources import left_out as reasons
from deepcluster.data.sources.left_out import LeftOut
from deepcluster.data.sources.paths import Paths
from deepcluster.data.sources.walk import Listed, folder_above, walk

N_REMEMBERED = 10_000  # fewer files are found again in less time than an index deserves
_LAW = 3  # of finding and of the entry: raised when the same folders would give other files

Ints = NDArray[np.int64]


def find_images(folder: str, settings: Folder, reading: Reading) -> tuple[Paths, str]:
    """The image files below a folder, and a fingerprint that changes when files are added, removed or renamed.

    In the order of a walk that takes each folder's entries by name. Links to folders are followed, unless the folder
    is read already: each is read once, by its own path if that is below `folder`. What is left out is told. From
    `N_REMEMBERED` files on the answer is remembered in reading.cache_dir.
    """
    name, key = f"index-{blake2b(os.fsencode(os.path.realpath(folder)), digest_size=8).hexdigest()}", f"law {_LAW}"
    entry = cache.read(settings, reading, name, key, of_root_only=True)
    folders, n_listed = walk(folder, {} if entry is None else _remembered(entry), reading.timeout_s)
    reasons.report(folder, sum((listed.left_out for listed in folders.values()), LeftOut()))
    if entry is not None and n_listed == 0:
        return _paths(entry), entry["fingerprint"]
    entry = _entry(folders)
    if len(entry["starts"]) >= N_REMEMBERED:
        cache.write(settings, reading, name, key, entry, of_root_only=True)
    return _paths(entry), entry["fingerprint"]


def images_below(folder: str) -> Paths:
    """The image files below a folder by the same law, neither remembered nor told."""
    return _paths(_entry(walk(folder, {}, None)[0]))


def _entry(listed: dict[str, Listed]) -> dict[str, Any]:
    """All folders and files as arrays: what is remembered, and what `Paths` reads."""
    listing = np.frombuffer(b"".join(folder.listing for folder in listed.values()), np.uint8)
    offsets = _sums([len(folder.listing) for folder in listed.values()])
    folders = np.frombuffer(os.fsencode("".join(f"{path}\0" for path in listed)), np.uint8)
    changed = np.array([folder.changed for folder in listed.values()])
    ends = np.flatnonzero(listing == 0)
    begins = np.concatenate([[0], ends + 1])[:-1]
    run_folders, firsts, lasts = _runs(listed, np.searchsorted(ends, offsets), listing[ends - 1] == ord("/"))
    sizes = lasts - firsts
    run_starts = _sums(sizes)[:-1]
    files = np.repeat(firsts - run_starts, sizes) + np.arange(sizes.sum())
    starts, lengths = begins[files], (ends - begins)[files]
    links = {f"{path}{name}/" for path, folder in listed.items() for name in folder.links}
    arrays = {
        "listing": listing,
        "offsets": offsets,
        "folders": folders,
        "changed": changed,
        "settled": np.array([folder.settled for folder in listed.values()]),
        "is_link": np.array([path in links for path in listed]),
        "starts": starts,
        "lengths": lengths.astype(np.uint8),
        "run_starts": run_starts,
        "run_folders": run_folders,
    }
    return {
        **{name: torch.from_numpy(np.array(array)) for name, array in arrays.items()},
        "fingerprint": _fingerprint(listed, listing, arrays),
        "left_out": {i: dict(folder.left_out) for i, folder in enumerate(listed.values()) if folder.left_out},
    }


def _fingerprint(listed: dict[str, Listed], listing: NDArray[np.uint8], arrays: dict[str, Any]) -> str:
    """Of the images, and of when the folders that hold some changed: a run's new folder counts for nothing."""
    paths, changed = list(listed), arrays["changed"].tolist()
    starts, ends = arrays["starts"], arrays["starts"] + arrays["lengths"]
    lasts = np.append(arrays["run_starts"], len(starts))[1:] - 1
    digest = blake2b(digest_size=16)
    for folder, first, last in zip(arrays["run_folders"].tolist(), arrays["run_starts"], lasts, strict=True):
        digest.update(os.fsencode(f"{paths[folder]}\0{changed[folder]}\0"))
        digest.update(listing[starts[first] : ends[last]].data)
    return digest.hexdigest()


def _runs(listed: dict[str, Listed], first_entry: Ints, is_folder: NDArray[np.bool_]) -> tuple[Ints, Ints, Ints]:
    """Series of files that follow each other in the walk and in one listing: its folder, first and last + 1 entry.

    Args:
        first_entry: (folders + 1,), the first entry of each folder among all.
        is_folder: of each entry.
    """
    number = {path: i for i, path in enumerate(listed)}
    runs: list[tuple[int, int, int]] = []

    def enter(path: str) -> tuple[str, Iterator[tuple[int, str]], list[int]]:
        first, last = int(first_entry[number[path]]), int(first_entry[number[path] + 1])
        below = (first + np.flatnonzero(is_folder[first:last])).tolist()
        names = os.fsdecode(bytes(listed[path].listing)).split("\0") if below else []
        folders = zip(below, (name for name in names if name.endswith("/")), strict=True)
        return path, folders, [first, last]

    way_down = [enter("")]  # a list, not a recursion: folders may be a thousand deep
    while way_down:
        path, folders, rest = way_down[-1]
        entry, name = next(folders, (rest[1], ""))
        if entry > rest[0]:
            runs.append((number[path], rest[0], entry))
        rest[0] = entry + 1
        if not name:
            way_down.pop()
        elif f"{path}{name}" in number:  # not those that are left out
            way_down.append(enter(f"{path}{name}"))
    table = np.array(runs, np.int64).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]


def _remembered(entry: dict[str, Any]) -> dict[str, Listed]:
    """The folders of an entry, in its order; their listings stay on the disk until they are read."""
    listing = memoryview(entry["listing"].numpy())
    offsets = entry["offsets"].tolist()
    known: dict[str, Listed] = {}
    facts = zip(*(entry[name].tolist() for name in ("changed", "settled", "is_link")), strict=True)
    for i, (path, (changed, settled, is_link)) in enumerate(zip(_folders(entry), facts, strict=True)):
        left_out = LeftOut(entry["left_out"].get(i, {}))
        known[path] = Listed(changed, settled, listing[offsets[i] : offsets[i + 1]], left_out=left_out)
        if path:
            parent = known[folder_above(path)]
            (parent.links if is_link else parent.folders).append(path[:-1].rpartition("/")[2])
    return known


def _folders(entry: dict[str, Any]) -> list[str]:
    return os.fsdecode(entry["folders"].numpy().tobytes()).split("\0")[:-1]


def _paths(entry: dict[str, Any]) -> Paths:
    arrays = {name: entry[name].numpy() for name in ("listing", "starts", "lengths", "run_starts", "run_folders")}
    return Paths(folders=_folders(entry), **arrays)


def _sums(sizes: Any) -> Ints:
    """0, the first, the first two together, ..., all."""
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
