"""Sets for instance retrieval: a database of images, queries, and the images that each query should find.

This file reads the plain layout; oxford.py and revisited.py read the others. Next: region_features.py.
"""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from deepcluster.data.decode import WHITE, decode_file
from deepcluster.data.sources.index import images_below
from deepcluster.data.sources.photographs import EXTENSIONS, is_hidden, is_of_system

Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels of the stored image


@dataclass(kw_only=True)
class Truth:
    """The right answers to one query by one protocol, as indices into the database.

    Args:
        positives: images that show the same object.
        ignored: images that are removed from the ranking, neither right nor wrong.
    """

    positives: frozenset[int]
    ignored: frozenset[int] = frozenset()


@dataclass(kw_only=True)
class Query:
    """An image, or a region of it, to search with.

    Args:
        name: unique in its set.
        path: the file.
        truths: the right answers by protocol: "easy", "medium" and "hard" in the revisited layout, "" in the others.
        box: the region to search with; None: the whole image.
        group: plain layout: the folder, whose queries are also scored separately; oxford layout: the landmark.
    """

    name: str
    path: Path
    truths: dict[str, Truth]
    box: Box | None = None
    group: str = ""


@dataclass(kw_only=True)
class RetrievalSet:
    """The images that are searched, and the queries.

    Args:
        layout: "plain", "oxford" or "revisited".
        root: the folder.
        database: the N images that are searched.
        queries: at least one.
        notes: lines for the user, such as what was left out.
    """

    layout: str
    root: Path
    database: list[Path]
    queries: list[Query]
    notes: list[str] = field(default_factory=list)

    @property
    def folders(self) -> list[str]:
        """The query folders of the plain layout; none in other layouts."""
        return sorted({query.group for query in self.queries}) if self.layout == "plain" else []

    def without(self, left_out: Collection[int]) -> "RetrievalSet":
        """The set without these images of the database, which are also removed from the queries' truths."""
        if not left_out:
            return self
        remaining = [i for i in range(len(self.database)) if i not in left_out]
        new_index = {old: new for new, old in enumerate(remaining)}

        def renumbered(indices: frozenset[int]) -> frozenset[int]:
            return frozenset(new_index[i] for i in indices if i in new_index)

        queries = [
            replace(
                query,
                truths={
                    name: Truth(positives=renumbered(truth.positives), ignored=renumbered(truth.ignored))
                    for name, truth in query.truths.items()
                },
            )
            for query in self.queries
        ]
        return replace(self, database=[self.database[i] for i in remaining], queries=queries)


def plain_set(root: Path, reference: str, queries: Sequence[str] | None) -> RetrievalSet:
    """Read the plain layout: queries FOLDER/ID.jpg, database ``reference/ID.jpg``; the same ID is the same object.

    Args:
        root: the folder.
        reference: name of the database's folder, in upper or lower case.
        queries: names of the query folders, or None: every other folder with images.

    Raises:
        FileNotFoundError: if a folder is missing or without images.
        ValueError: if no query has a reference.
    """
    folders = {entry.name: Path(entry.path) for entry in os.scandir(root) if _is_folder(entry)}
    names = ", ".join(sorted(folders)) or "none"
    database = images_in(_folder(folders, reference, "evaluation.reference", root))
    if not database:
        raise FileNotFoundError(f"no images in {root}/{reference}; looked for {', '.join(EXTENSIONS)}")
    by_id: dict[str, set[int]] = {}  # ID -> images of the database
    for i, path in enumerate(database):
        by_id.setdefault(path.stem, set()).add(i)
    if queries is None:
        query_folders = [folders[name] for name in sorted(folders) if name.lower() != reference.lower()]
    else:
        query_folders = [_folder(folders, name, "evaluation.queries", root) for name in queries]
    with_reference: list[Query] = []
    without: list[str] = []
    for folder in query_folders:
        images = images_in(folder)
        if not images and queries is not None:
            raise FileNotFoundError(f"no images in the query folder {folder}; looked for {', '.join(EXTENSIONS)}")
        for path in images:
            name = path.relative_to(root).as_posix()
            if path.stem not in by_id:
                without.append(name)
                continue
            truths = {"": Truth(positives=frozenset(by_id[path.stem]))}
            with_reference.append(Query(name=name, path=path, truths=truths, group=folder.name))
    if not with_reference:
        what = f"; {len(without)} images have no namesake there, such as {without[0]}" if without else ""
        raise ValueError(
            f"evaluation.root={root} has no query for the {len(database)} images of {reference}/: beside it there must "
            f"be folders with images of the same names (it has the folders: {names}){what}"
        )
    notes = []
    if without:
        notes.append(f"{len(without)} queries left out that have no namesake in {reference}/, first {without[0]}")
    return RetrievalSet(layout="plain", root=root, database=database, queries=with_reference, notes=notes)


def images_in(folder: Path) -> list[Path]:
    """The image files in a folder and its subfolders, sorted: those that data.source=folder would read."""
    return sorted(folder / name for name in images_below(str(folder))) if folder.is_dir() else []


def read_resized(path: Path, n_channels: int, size: int, box: Box | None, max_value: int = WHITE) -> Tensor:
    """Read an image, resize its larger side to `size` pixels, and crop it to the box: uint8 (C, h, w).

    As in 2018 the whole image is resized first and then cropped, both rounded to whole pixels (original:
    eval_retrieval.py). Bilinear, with antialiasing; small images are enlarged.

    Raises:
        BrokenImage: if it cannot be decoded; names the file.
        ValueError: if no part of the box lies in the image.
    """
    image = decode_file(str(path), n_channels, max_value)
    height, width = image.shape[1:]
    resized = to_larger_side(image, size)
    if box is None:
        return resized
    ratio = size / max(height, width)
    left, top, right, bottom = (round(value * ratio) for value in box)
    cut = resized[:, max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    if cut.numel() == 0:
        raise ValueError(
            f"{path}: nothing is left of the query's region {[round(value, 1) for value in box]} in its "
            f"{width} x {height} pixels, resized to evaluation.sizes={size}; correct the region or "
            "raise evaluation.sizes"
        )
    return cut


def to_larger_side(image: Tensor, size: int) -> Tensor:
    """Resize uint8 (C, H, W) so that its larger side has `size` pixels, keeping its proportions."""
    ratio = size / max(image.shape[1:])
    resized: Tensor = TF.resize(image, [max(1, round(side * ratio)) for side in image.shape[1:]], antialias=True)
    return resized


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir() and not is_hidden(entry.name) and not is_of_system(entry.name)


def _folder(folders: dict[str, Path], name: str, key: str, root: Path) -> Path:
    """The folder of this name, or else the only one with this name in other upper and lower case."""
    if name in folders:
        return folders[name]
    alike = [path for other, path in folders.items() if other.lower() == name.lower()]
    if len(alike) != 1:
        raise FileNotFoundError(
            f"{key}: evaluation.root={root} has no folder {name}; it has {', '.join(sorted(folders)) or 'none'}"
        )
    return alike[0]
