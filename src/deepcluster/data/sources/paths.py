"""Millions of file names in little memory: a sequence of paths over arrays. Made by index.py."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepcluster.data.sources.lazy_strings import LazyStrings


@dataclass(kw_only=True, eq=False)
class Paths(LazyStrings):
    """N posix paths, relative to one folder; N Python strings would take 100 bytes each and more.

    A run is a series of files that lie beside each other in one folder's listing; the paths are in the order of the
    runs.

    Args:
        listing: uint8, file names, each followed by a zero byte.
        starts: (N,) int64, where in `listing` a path's name begins.
        lengths: (N,) uint8, bytes of the name (no file system has more than 255).
        run_starts: (R,) int64, a run's first path.
        run_folders: (R,) int64, the folder of a run.
        folders: the folders' paths, "" for the first one, else ending with "/".
        prefix: stands before every path.
    """

    listing: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.uint8]
    run_starts: NDArray[np.int64]
    run_folders: NDArray[np.int64]
    folders: Sequence[str]
    prefix: str = ""

    def __len__(self) -> int:
        return len(self.starts)

    def at(self, i: int) -> str:
        if not -len(self) <= i < len(self):
            raise IndexError(i)
        i %= len(self)
        run = int(np.searchsorted(self.run_starts, i, side="right")) - 1
        start = int(self.starts[i])
        name = os.fsdecode(self.listing[start : start + int(self.lengths[i])].tobytes())
        return f"{self.prefix}{self.folders[self.run_folders[run]]}{name}"

    def __iter__(self) -> Iterator[str]:
        """Run by run: ten times as fast as one by one."""
        ends = np.append(self.run_starts[1:], len(self))
        for folder, first, end in zip(self.run_folders.tolist(), self.run_starts.tolist(), ends.tolist(), strict=True):
            before = self.prefix + self.folders[folder]
            last = int(self.starts[end - 1]) + int(self.lengths[end - 1])
            for name in os.fsdecode(self.listing[int(self.starts[first]) : last].tobytes()).split("\0"):
                yield before + name

    def folder_numbers(self) -> NDArray[np.int64]:
        """(N,) int64: which of `folders` each path lies in."""
        return np.repeat(self.run_folders, np.diff(np.append(self.run_starts, len(self))))
