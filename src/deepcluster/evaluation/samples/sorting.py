"""Sort a run's pictures into a folder for each cluster: as links, copies or moves, which can be undone.

Nothing is ever overwritten: what would be is told before anything is done. What was done stands in sorted.csv.
"""

import csv
import os
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from deepcluster.system.tables import write_csv

SORTED = "sorted.csv"  # in the folder of the sorted pictures
MODES = ("link", "copy", "move")
STAYS = 0.5  # share of a cluster's pictures that must be in another for its name to go there


class Move(NamedTuple):
    """A picture, and where it goes."""

    source: Path
    target: Path


def read_column(path: Path, key: str, value: str) -> dict[str, str]:
    """One column of a CSV file by another; the file may begin with the mark that spreadsheets write.

    Raises:
        ValueError: naming the file and what is missing.
    """
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        rows = csv.DictReader(file)
        if missing := {key, value} - {*(rows.fieldnames or [])}:
            raise ValueError(f"{path} has no column {', '.join(sorted(missing))}; its columns must be {key}, {value}")
        return {row[key]: row[value] for row in rows}


def plan(clusters: Mapping[str, str], root: Path, out: Path, names: Mapping[str, str]) -> list[Move]:
    """Where each picture goes: OUT/CLUSTER_OR_NAME/FILE.

    Args:
        clusters: name of a picture, below root -> its cluster.
        names: cluster -> name; others are called by their number, with zeros before it.

    Raises:
        ValueError: if a picture is gone, or a file would be overwritten; names the first.
    """
    width = max((len(cluster) for cluster in clusters.values()), default=1)
    folders = {number: _folder_name(names.get(number, ""), number.zfill(width)) for number in set(clusters.values())}
    n_alike = Counter((folders[cluster], Path(sample).name.lower()) for sample, cluster in clusters.items())
    moves, used = [], set()
    for sample, cluster in clusters.items():
        folder, file = folders[cluster], Path(sample).name
        if n_alike[folder, file.lower()] > 1:  # 1/a.jpg and 2/a.jpg
            file = sample.replace("/", "__")
        move = Move(Path(os.path.abspath(root)) / sample, out / folder / file)
        if not move.source.is_file():
            raise ValueError(
                f"{move.source} is gone: the run's pictures must lie where they were, or give data.root=DIR"
            )
        if os.path.lexists(move.target) or move.target in used:
            raise ValueError(f"{move.target} is there already, and nothing is overwritten; choose another folder")
        used.add(move.target)
        moves.append(move)
    return moves


def sort(moves: Sequence[Move], out: Path, mode: str) -> None:
    """Do what is planned; sorted.csv is written first, so that a sort that was broken off can be undone too.

    Raises:
        ValueError: if the folder was sorted into before.
    """
    assert mode in MODES
    if (out / SORTED).exists():
        raise ValueError(f"{out / SORTED} is of an earlier sort; undo that first, or choose another folder")
    write_csv(
        out / SORTED,
        ["mode", "source", "target"],
        ((mode, os.path.abspath(m.source), os.path.abspath(m.target)) for m in moves),
    )
    for move in moves:
        move.target.parent.mkdir(parents=True, exist_ok=True)
        if mode == "link":
            move.target.symlink_to(os.path.abspath(move.source))
        elif mode == "copy":
            _copy(move.source, move.target)
        else:
            _move(move.source, move.target)


def undo(out: Path) -> int:
    """Undo the sort of a folder: moved pictures go back, links and unchanged copies are removed.

    Returns:
        How many files were kept, as they are no longer what the sort made of them.

    Raises:
        FileNotFoundError: if nothing was sorted into the folder.
    """
    if not (out / SORTED).is_file():
        raise FileNotFoundError(f"{out / SORTED} is missing: nothing was sorted into {out}")
    with (out / SORTED).open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.DictReader(file))
    n_kept = 0
    for row in rows:
        source, target = Path(row["source"]), Path(row["target"])
        if not os.path.lexists(target):
            continue  # broken off before it, or removed by hand
        if row["mode"] == "move" and not os.path.lexists(source):
            source.parent.mkdir(parents=True, exist_ok=True)
            _move(target, source)
        elif _is_of_sort(row["mode"], source, target):
            target.unlink()
        else:
            n_kept += 1
    if n_kept == 0:
        (out / SORTED).unlink()
    for folder in {Path(row["target"]).parent for row in rows}:
        if folder.is_dir() and not os.listdir(folder):
            folder.rmdir()
    return n_kept


def carried_names(names: Mapping[str, str], before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Names of clusters after the next clustering: each goes where most of its cluster's pictures went.

    Args:
        names: cluster -> name, before.
        before, now: picture -> cluster. Pictures of one of them only are left out.

    Returns:
        cluster -> name, now; a name whose cluster was scattered (no new one has half of it) is left out.
    """
    both = Counter((before[sample], now[sample]) for sample in before.keys() & now.keys() if before[sample] in names)
    old, new = (sorted({pair[place] for pair in both}) for place in (0, 1))
    overlap = np.zeros((len(old), len(new)))
    for (one, other), n in both.items():
        overlap[old.index(one), new.index(other)] = n
    matched = zip(*linear_sum_assignment(overlap, maximize=True), strict=True)
    return {new[j]: names[old[i]] for i, j in matched if overlap[i, j] >= STAYS * overlap[i].sum()}


def _folder_name(name: str, number: str) -> str:
    """A name that every system takes as one folder's; the number if there is none."""
    plain = re.sub(r'[\x00-\x1f/\\:*?"<>|]+', "_", name).strip(" .")
    return plain or number


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as read, target.open("xb") as written:  # x: never over another file
        shutil.copyfileobj(read, written)
    shutil.copystat(source, target)


def _move(source: Path, target: Path) -> None:
    try:
        os.link(source, target)  # a rename would overwrite
    except FileExistsError:
        raise
    except OSError:  # another disk, or one without links
        _copy(source, target)
    source.unlink()


def _is_of_sort(mode: str, source: Path, target: Path) -> bool:
    """The target is what the sort made: a link to the source, or the same picture (of a move that was broken off)."""
    if mode == "link":
        return target.is_symlink() and os.readlink(target) == str(source)
    return not target.is_symlink() and _is_same(source, target)


def _is_same(source: Path, target: Path) -> bool:
    """The source is still there, and the target holds the same."""
    if not source.is_file() or source.stat().st_size != target.stat().st_size:
        return False
    return source.read_bytes() == target.read_bytes()
