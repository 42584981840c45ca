"""Groups of the same picture: exact copies by content, near ones by near_copies.py; and which of a group to keep.

A group is a star: its medoid and pictures that are near to the medoid itself, so that no chain of small differences
joins different pictures.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from deepcluster.data.decode import pixels_of_file
from deepcluster.data.images import FileImages, ImageSet
from deepcluster.evaluation.samples.near_copies import NearCopies
from deepcluster.system.tables import write_csv

COLUMNS = ("group", "sample", "kind", "distance", "keep")


@dataclass(kw_only=True)
class Copy:
    """A member of a group.

    Args:
        image: its number.
        distance: aligned, to the medoid; 0 of the medoid and of its exact copies.
        is_exact: another member holds the same, byte for byte.
    """

    image: int
    distance: float
    is_exact: bool


Groups = list[list[Copy]]  # the largest first, the medoid the first of each


def distinct(contents: Tensor, n: int) -> Tensor:
    """The first image (N,) int64 that holds the same as each of N.

    Args:
        contents: (M, 2) int64, number and content of those that are known (data/contents.py).
    """
    first = torch.arange(n)
    if len(contents):
        order = torch.argsort(contents[:, 0])
        images = contents[order, 0]
        _, which = torch.unique(contents[order, 1], return_inverse=True)
        lowest = torch.full((int(which.max()) + 1,), n).scatter_reduce(0, which, images, "amin")
        first[images] = lowest[which]
    return first


def group_copies(first: Tensor, near: NearCopies) -> Groups:
    """Groups from exact and near copies.

    Args:
        first: (N,) the first image that holds the same, see :func:`distinct`.
        near: pairs of these first images.
    """
    exact: dict[int, list[int]] = {}
    for image in torch.nonzero(first != torch.arange(len(first))).flatten().tolist():
        exact.setdefault(int(first[image]), []).append(image)
    around: dict[int, dict[int, float]] = {}
    for (a, b), distance in zip(near.pairs.tolist(), near.distances.tolist(), strict=True):
        around.setdefault(a, {})[b] = distance
        around.setdefault(b, {})[a] = distance
    groups, taken = [], set()
    medoids = sorted(around, key=lambda image: (-len(around[image]), sum(around[image].values()), image))
    for medoid in [*medoids, *sorted(exact)]:
        members = {} if medoid in taken else {i: d for i, d in around.get(medoid, {}).items() if i not in taken}
        if medoid in taken or not (members or medoid in exact):
            continue
        taken |= {medoid, *members}
        stars = sorted({medoid: 0.0, **members}.items(), key=lambda star: (star[1], star[0] != medoid, star[0]))
        groups.append(
            [
                Copy(image=image, distance=distance, is_exact=image in exact or copy)
                for one, distance in stars
                for image, copy in [(one, False), *((other, True) for other in exact.get(one, ()))]
            ]
        )
    return sorted(groups, key=lambda group: (-len(group), min(copy.image for copy in group)))


def group_numbers(groups: Groups, n: int) -> Tensor:
    """The group (N,) int64 of each image; -1: none."""
    numbers = torch.full((n,), -1)
    for number, group in enumerate(groups):
        numbers[[copy.image for copy in group]] = number
    return numbers


def write_duplicates(
    path: Path, groups: Groups, samples: Sequence[str], rank_of: Callable[[int], Sequence[int]]
) -> int:
    """Write duplicates.csv: a line for each member, `keep` true for one of each group.

    That is the one of the largest size in pixels, then the oldest, which a changed copy is not, then the one of the
    largest file, then one that is no link, then the first by name.

    Args:
        samples: names of all images.
        rank_of: image -> what is the larger the rather it is kept, see :func:`file_ranks`.

    Returns:
        How many images could be left out.
    """

    def lines() -> Iterator[list[object]]:
        for number, group in enumerate(groups):
            kept = min(group, key=lambda copy: (*(-rank for rank in rank_of(copy.image)), samples[copy.image]))
            for copy in group:
                kind, keep = "exact" if copy.is_exact else "near", "true" if copy is kept else "false"
                yield [number, samples[copy.image], kind, f"{copy.distance:.4f}", keep]

    write_csv(path, COLUMNS, lines())
    return sum(len(group) - 1 for group in groups)


def file_ranks(sets: Sequence[ImageSet], root: Path | None) -> Callable[[int], tuple[int, int, int, bool]]:
    """Image, counted over all sets -> pixels of its file, whole seconds from its last change to 1970, bytes, no link.

    So each is the larger the rather the file is kept: a link is nothing without its file. Zeros of what is no file.

    Args:
        root: where files lie whose decoded images are in memory.
    """

    def rank_of(image: int) -> tuple[int, int, int, bool]:
        for images in sets:
            if image < len(images):
                break
            image -= len(images)
        folder = images.root if isinstance(images, FileImages) else root
        if folder is None:
            return 0, 0, 0, False
        path = folder / images.samples[image]
        try:
            return pixels_of_file(path), -int(path.stat().st_mtime), path.stat().st_size, not path.is_symlink()
        except (OSError, ValueError):
            return 0, 0, 0, False

    return rank_of
