"""Which images a run has learned from, by what they hold, wherever they lie and whatever they are called."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepcluster.clustering.history import read_contents
from deepcluster.data.images import ImageSet


def numbers_by_content(run: Path, contents: Tensor | None, *, n: int, n_before: int) -> Tensor:
    """The number (N,) int64, in the run, of the first image that holds the same as each; -1: there is none.

    Args:
        run: its folder.
        contents: (M, 2) of the images (data/contents.py); None: not known.
        n: N.
        n_before: images of the run.
    """
    numbers, before = torch.full((n,), -1), None if contents is None else read_contents(run)
    if contents is None or before is None or not len(before) or int(before[:, 0].max()) >= n_before:
        return numbers
    digests, first = np.unique(before[:, 1], return_index=True)
    now = contents.numpy()
    at = np.searchsorted(digests, now[:, 1]).clip(max=len(digests) - 1)
    is_seen = digests[at] == now[:, 1]
    numbers[torch.from_numpy(now[is_seen, 0])] = torch.from_numpy(before[first[at[is_seen]], 0])
    return numbers


def numbers_by_identity(run: Path, samples_before: Sequence[str], images: ImageSet) -> Tensor:
    """The number (N,) int64, in the run, of each image: of the same name unless it holds something else now, else of
    what it holds; -1: it is new.

    Each image of the run is at most one image now: a further copy of it is new.
    """
    n, n_before = len(images), len(samples_before)
    numbers = torch.full((n,), -1)
    then, now = _by_number(read_contents(run), n_before), _by_number(_plain(images.contents), n)
    place = {sample: number for number, sample in enumerate(samples_before)}
    for i in range(n):
        j = place.get(images.samples[i])
        if j is not None and (then[j] == now[i] or not then[j] or not now[i]):
            numbers[i] = j
    left: dict[int, list[int]] = {}  # what the others of the run hold -> their numbers, the first one last
    for j in sorted(set(range(n_before)) - set(numbers.tolist()), reverse=True):
        left.setdefault(int(then[j]), []).append(j)
    for i in torch.nonzero(numbers < 0).flatten().tolist():
        if now[i] and left.get(int(now[i])):
            numbers[i] = left[int(now[i])].pop()
    return numbers


def _plain(contents: Tensor | None) -> NDArray[np.int64] | None:
    return None if contents is None else contents.numpy()


def _by_number(contents: NDArray[np.int64] | None, n: int) -> NDArray[np.int64]:
    """The digest (n,) of each image, 0 where it is not known."""
    digests = np.zeros(n, dtype=np.int64)
    if contents is not None and len(contents) and int(contents[:, 0].max()) < n:
        digests[contents[:, 0]] = contents[:, 1]
    return digests
