"""Sets for instance retrieval: a database of images, queries, and which images a query should find.

Here the plain layout; oxford.py and revisited.py read the others, layouts.py chooses. Next: region_features.py.
"""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from deepcluster.data.decode import decode_file
from deepcluster.data.sources.index import EXTENSIONS, HIDDEN

Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels of the image as it is stored


@dataclass(kw_only=True)
class Truth:
    """The right answers to one query by one protocol, as indices into the database.

    Args:
        positives: images that show the same object.
        ignored: images that are taken out of the ranking, neither right nor wrong.
    """

    positives: frozenset[int]
    ignored: frozenset[int] = frozenset()


@dataclass(kw_only=True)
class Query:
    """An image, or a region of it, to search with.

    Args:
        name: unique in its set.
        path: the file.
        truths: by protocol: "easy", "medium" and "hard" of the revisited sets, "" where there is only one.
        box: the region of interest; None: all of it.
        group: a folder of the plain layout, whose queries are also scored by themselves; a landmark of Oxford's.
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
        """The query folders of the plain layout; of other layouts none."""
        return sorted({query.group for query in self.queries}) if self.layout == "plain" else []

    @property
    def protocols(self) -> list[str]:
        """The names under which the queries have truths."""
        return list(self.queries[0].truths)

    def without(self, left_out: Collection[int]) -> "RetrievalSet":
        """The set without these images of the database; they are taken out of the queries' truths too."""
        if not left_out:
            return self
        kept = [i for i in range(len(self.database)) if i not in left_out]
        number = {old: new for new, old in enumerate(kept)}

        def moved(indices: frozenset[int]) -> frozenset[int]:
            return frozenset(number[i] for i in indices if i in number)

        queries = [
            replace(
                query,
                truths={
                    name: Truth(positives=moved(truth.positives), ignored=moved(truth.ignored))
                    for name, truth in query.truths.items()
                },
            )
            for query in self.queries
        ]
        return replace(self, database=[self.database[i] for i in kept], queries=queries)


def plain_set(root: Path, reference: str, queries: Sequence[str] | None) -> RetrievalSet:
    """The plain layout: ``reference/ID.jpg`` is searched with ``FOLDER/ID.jpg``; the same ID is the same object.

    Args:
        root: the folder.
        reference: name of the database's folder; upper and lower case are the same.
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
    numbers: dict[str, set[int]] = {}
    for i, path in enumerate(database):
        numbers.setdefault(path.stem, set()).add(i)
    if queries is None:
        searched = [folders[name] for name in sorted(folders) if name.lower() != reference.lower()]
    else:
        searched = [_folder(folders, name, "evaluation.queries", root) for name in queries]
    with_reference: list[Query] = []
    without: list[str] = []
    for folder in searched:
        images = images_in(folder)
        if not images and queries is not None:
            raise FileNotFoundError(f"no images in the query folder {folder}; looked for {', '.join(EXTENSIONS)}")
        for path in images:
            name = path.relative_to(root).as_posix()
            if path.stem not in numbers:
                without.append(name)
                continue
            truths = {"": Truth(positives=frozenset(numbers[path.stem]))}
            with_reference.append(Query(name=name, path=path, truths=truths, group=folder.name))
    if not with_reference:
        what = f"; {len(without)} images have no namesake there, such as {without[0]}" if without else ""
        raise ValueError(
            f"evaluation.root={root} has no query for the {len(database)} images of {reference}/: beside it there must "
            f"be folders with images of the same names (folders there: {names}){what}"
        )
    notes = []
    if without:
        notes.append(f"{len(without)} queries left out that have no namesake in {reference}/, first {without[0]}")
    return RetrievalSet(layout="plain", root=root, database=database, queries=with_reference, notes=notes)


def images_in(folder: Path, *, deep: bool = True) -> list[Path]:
    """The image files in a folder, in the folders under it too if `deep`, sorted; hidden ones are left out."""
    images: list[Path] = []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith(HIDDEN)) if deep else []
        images += [
            Path(place, name)
            for name in sorted(names)
            if name.lower().endswith(EXTENSIONS) and not name.startswith(HIDDEN)
        ]
    return images


def read_resized(path: Path, n_channels: int, size: int, box: Box | None) -> Tensor:
    """The image with its larger side brought to `size` (smaller ones grow), cut to the box; uint8 (C, h, w).

    Shape and order as in 2018: the whole image is resized and then cropped, both rounded to whole pixels
    (original: eval_retrieval.py). Bilinear, with antialiasing.

    Raises:
        BrokenImage: naming the file.
        ValueError: if nothing of the box lies in the image.
    """
    image = decode_file(str(path), n_channels)
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
            f"{width} x {height} pixels, seen at evaluation.sizes={size}"
        )
    return cut


def to_larger_side(image: Tensor, size: int) -> Tensor:
    """uint8 (C, H, W) with its larger side brought to `size`, in its own shape."""
    ratio = size / max(image.shape[1:])
    resized: Tensor = TF.resize(image, [max(1, round(side * ratio)) for side in image.shape[1:]], antialias=True)
    return resized


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir() and not entry.name.startswith(HIDDEN)


def _folder(folders: dict[str, Path], name: str, key: str, root: Path) -> Path:
    """The folder of this name; else the only one whose name differs just in upper and lower case."""
    if name in folders:
        return folders[name]
    alike = [path for other, path in folders.items() if other.lower() == name.lower()]
    if len(alike) != 1:
        raise FileNotFoundError(
            f"{key}: evaluation.root={root} has no folder {name}; it has {', '.join(sorted(folders)) or 'none'}"
        )
    return alike[0]
