"""Oxford5k, Paris6k and their revisited versions, in the layouts in which they are given out. From retrieval.py."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from deepcluster.data import plain_pickle
from deepcluster.data.retrieval import (
    LAYOUTS,
    Box,
    Query,
    RetrievalSet,
    Truth,
    images_in,
    plain_set,
)

# Paris6k's files that are no images but error pages; everybody leaves them out (list: corrupt.txt of the set's page).
CORRUPT = {
    *(f"paris_louvre_{n}" for n in ("000136", "000146")),
    "paris_moulinrouge_000422",
    "paris_museedorsay_001059",
    "paris_notredame_000188",
    *(f"paris_pantheon_{n}" for n in ("000284", "000960", "000974")),
    *(f"paris_pompidou_{n}" for n in ("000195", "000196", "000201", "000467", "000640")),
    *(f"paris_sacrecoeur_{n}" for n in ("000299", "000330", "000353")),
    *(f"paris_triomphe_{n}" for n in ("000662", "000833", "000863", "000867")),
}
# Revisited protocol -> which lists are positives, which are ignored (Radenovic et al. 2018, section 3.2).
REVISITED = {
    "easy": (("easy",), ("hard", "junk")),
    "medium": (("easy", "hard"), ("junk",)),
    "hard": (("hard",), ("easy", "junk")),
}


def retrieval_set(
    root: str, layout: str, *, reference: str, queries: list[str] | None, ground_truth: str | None
) -> RetrievalSet:
    """The set in a folder.

    Args:
        root: the folder.
        layout: one of LAYOUTS; "auto" tells them by their files.
        reference, queries: of the plain layout.
        ground_truth: of the revisited layout, the file's name in the folder; None: the only gnd_*.pkl or .json.

    Raises:
        FileNotFoundError: if the folder or a part of it is missing.
        ValueError: if the parts do not fit together.
    """
    folder = Path(root).expanduser()
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise FileNotFoundError(f"evaluation.root={folder} {what}; give the folder of a retrieval set")
    if layout == "auto":
        layout = _layout_of(folder, reference)
    if layout == "plain":
        return plain_set(folder, reference, queries)
    return oxford_set(folder) if layout == "oxford" else revisited_set(folder, ground_truth)


def _layout_of(root: Path, reference: str) -> str:
    signs = {
        "revisited": bool(_ground_truths(root)),
        "oxford": any(root.rglob("*_query.txt")),
        "plain": any(entry.is_dir() and entry.name.lower() == reference.lower() for entry in root.iterdir()),
    }
    found = [layout for layout, there in signs.items() if there]
    if len(found) != 1:
        what = f"looks like {' and '.join(found)}" if found else "is in no layout that is known here"
        raise ValueError(
            f"evaluation.root={root} {what}: plain has a folder {reference}/ (evaluation.reference) and folders of "
            "queries, oxford jpg/ and *_query.txt, revisited jpg/ and gnd_*.pkl or .json; choose with "
            f"evaluation.layout={'|'.join(LAYOUTS[1:])}"
        )
    return found[0]


def oxford_set(root: Path) -> RetrievalSet:
    """Oxford5k or Paris6k: ``jpg/`` (with folders in it or not) and, anywhere, ``X_query.txt``, ``X_good.txt`` ...

    X_query.txt holds an image's name and its region x1 y1 x2 y2; the other three the names of images. Good and ok ones
    are positives, junk is ignored (Philbin et al. 2007). The 20 corrupt files of Paris are left out.

    Raises:
        FileNotFoundError: if images or a file of the ground truth are missing.
        ValueError: if a file of it cannot be read, or names images that are not there.
    """
    files = sorted(root.rglob("*_query.txt"))
    if not files:
        raise FileNotFoundError(
            f"evaluation.root={root} has no *_query.txt: unpack the ground truth (X_query.txt, X_good.txt, X_ok.txt, "
            "X_junk.txt) into a folder in it"
        )
    images = _by_name(root)
    corrupt = sorted(CORRUPT & images.keys())
    names = [name for name in images if name not in CORRUPT]
    number = {name: i for i, name in enumerate(names)}
    queries = []
    for file in files:
        words = file.read_text().split()
        try:
            image, box = words[0].removeprefix("oxc1_"), _box(words[1:])
        except (IndexError, ValueError) as error:
            raise ValueError(f"{file} must hold an image's name and x1 y1 x2 y2, got {' '.join(words)!r}") from error
        name = file.name.removesuffix("_query.txt")
        good, ok, junk = (_listed(file.with_name(f"{name}_{part}.txt"), number) for part in ("good", "ok", "junk"))
        if image not in number:
            raise FileNotFoundError(f"{file} asks with {image}, which is not in {root}/jpg")
        truths = {"": Truth(positives=good | ok, ignored=junk - good - ok)}
        group = name.rpartition("_")[0]  # all_souls_1 .. all_souls_5
        queries.append(Query(name=name, path=images[image], truths=truths, box=box, group=group))
    notes = [f"{len(corrupt)} corrupt images of Paris6k left out, first {corrupt[0]}"] if corrupt else []
    return RetrievalSet(
        layout="oxford", root=root, database=[images[name] for name in names], queries=queries, notes=notes
    )


def revisited_set(root: Path, ground_truth: str | None) -> RetrievalSet:
    """ROxford5k or RParis6k: ``jpg/`` and ``gnd_roxford5k.pkl``, or the same content as JSON.

    It holds imlist (the database, without the queries), qimlist, and for each query bbx, easy, hard and junk
    (indices into imlist); positives and ignored ones as in REVISITED.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if the ground truth is not of this form, or is a pickle that would run code.
    """
    found = _ground_truths(root)
    if ground_truth is not None:
        file = root / ground_truth
    elif len(found) == 1:
        file = found[0]
    else:
        there = f"it has {', '.join(f.name for f in found)}" if found else "it has none"
        raise FileNotFoundError(
            f"evaluation.root={root} must hold one gnd_*.pkl or gnd_*.json of the revisited protocol, {there}; "
            "name it with evaluation.ground_truth=FILE"
        )
    if not file.is_file():
        raise FileNotFoundError(f"evaluation.ground_truth={ground_truth}: no such file in {root}")
    data = file.read_bytes()
    try:
        content = json.loads(data) if file.suffix == ".json" else plain_pickle.loads(data)
        names, query_names, records = ([*content[key]] for key in ("imlist", "qimlist", "gnd"))
        read = [_record(record, len(names)) for record in records]
        if len(records) != len(query_names):
            raise ValueError(f"{len(records)} records for {len(query_names)} queries")
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(
            f"{file} is no ground truth of the revisited protocol (imlist, qimlist, gnd with bbx, easy, hard, junk): "
            f"{'no ' if isinstance(error, KeyError) else ''}{error}"
        ) from error
    images = _by_name(root)
    missing = [name for name in [*names, *query_names] if name not in images]
    if missing:
        raise FileNotFoundError(
            f"{root}/jpg lacks {len(missing)} of the {len(names) + len(query_names)} images that {file.name} names, "
            f"first {missing[0]}"
        )
    queries = [
        Query(name=name, path=images[name], truths=truths, box=box)
        for name, (box, truths) in zip(query_names, read, strict=True)
    ]
    doubled = [name for name, n in Counter(query_names).items() if n > 1]
    if doubled:
        raise ValueError(f"{file}: {doubled[0]} is a query more than once")
    return RetrievalSet(layout="revisited", root=root, database=[images[name] for name in names], queries=queries)


def _ground_truths(root: Path) -> list[Path]:
    return sorted(file for file in root.glob("gnd_*") if file.suffix in (".pkl", ".json"))


def _record(record: Any, n_images: int) -> tuple[Box | None, dict[str, Truth]]:
    lists = {}
    for name in ("easy", "hard", "junk"):
        indices = np.asarray(record[name]).ravel().tolist()
        if any(i != int(i) or not 0 <= i < n_images for i in indices):
            raise ValueError(f"{name} must hold indices from 0 to {n_images - 1}")
        lists[name] = frozenset(int(i) for i in indices)
    truths = {}
    for protocol, (wanted, ignored) in REVISITED.items():
        positives = frozenset().union(*(lists[name] for name in wanted))
        truths[protocol] = Truth(
            positives=positives, ignored=frozenset().union(*(lists[name] for name in ignored)) - positives
        )
    box = record.get("bbx")
    return None if box is None else _box(np.asarray(box).ravel().tolist()), truths


def _box(values: list[Any]) -> Box:
    """Four numbers of which x1 < x2 and y1 < y2.

    Raises:
        ValueError: if they are not.
    """
    left, top, right, bottom = (float(value) for value in values)
    if not (left < right and top < bottom):
        raise ValueError(f"a region x1 y1 x2 y2 must have x1 < x2 and y1 < y2, got {values}")
    return left, top, right, bottom


def _listed(file: Path, number: dict[str, int]) -> frozenset[int]:
    """The images that a file of the ground truth names; corrupt ones are left out."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing; every X_query.txt needs X_good.txt, X_ok.txt and X_junk.txt")
    names = [name for name in file.read_text().split() if name not in CORRUPT]
    missing = [name for name in names if name not in number]
    if missing:
        raise ValueError(f"{file} names {len(missing)} images that are not in jpg/, first {missing[0]}")
    return frozenset(number[name] for name in names)


def _by_name(root: Path) -> dict[str, Path]:
    """The images of ``jpg/`` by their names without folder and extension."""
    folder = root / "jpg"
    if not folder.is_dir():
        raise FileNotFoundError(f"evaluation.root={root} has no folder jpg/; unpack the images there")
    images: dict[str, Path] = {}
    for path in images_in(folder):
        if path.stem in images:
            raise ValueError(f"{path} and {images[path.stem]} have the same name, by which the ground truth knows them")
        images[path.stem] = path
    return images
