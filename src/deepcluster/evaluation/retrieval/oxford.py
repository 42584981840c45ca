"""Reads Oxford5k and Paris6k in the layout of their archives. Called by layouts.py."""

from pathlib import Path
from typing import Any

from deepcluster.evaluation.retrieval.sets import Box, Query, RetrievalSet, Truth, images_in

# Files of Paris6k that hold error pages instead of images; papers leave them out (source: corrupt.txt on its web page).
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


def oxford_set(root: Path) -> RetrievalSet:
    """Oxford5k or Paris6k: ``jpg/`` (with or without subfolders) and, anywhere, ``X_query.txt``, ``X_good.txt`` ...

    X_query.txt holds an image's name and its region x1 y1 x2 y2. X_good.txt, X_ok.txt and X_junk.txt hold names of
    images: good and ok are positives, junk is ignored (Philbin et al. 2007). Paris's 20 corrupt files are left out.

    Raises:
        FileNotFoundError: if images or a file of the ground truth are missing.
        ValueError: if a file of the ground truth cannot be parsed, or names images that are missing.
    """
    files = sorted(root.rglob("*_query.txt"))
    if not files:
        raise FileNotFoundError(
            f"evaluation.root={root} has no *_query.txt: unpack the ground truth (X_query.txt, X_good.txt, X_ok.txt, "
            "X_junk.txt) into it"
        )
    images = images_by_name(root)
    corrupt = sorted(CORRUPT & images.keys())
    names = [name for name in images if name not in CORRUPT]
    number = {name: i for i, name in enumerate(names)}
    queries = []
    for file in files:
        words = file.read_text().split()
        try:
            image, box = words[0].removeprefix("oxc1_"), region(words[1:])
        except (IndexError, ValueError) as error:
            raise ValueError(f"{file} must hold an image's name and x1 y1 x2 y2, got {' '.join(words)!r}") from error
        name = file.name.removesuffix("_query.txt")
        good, ok, junk = (_listed(file.with_name(f"{name}_{part}.txt"), number) for part in ("good", "ok", "junk"))
        if image not in number:
            raise FileNotFoundError(f"{file} names the query image {image}, which is not in {root}/jpg")
        truths = {"": Truth(positives=good | ok, ignored=junk - good - ok)}
        group = name.rpartition("_")[0]  # all_souls_1 .. all_souls_5
        queries.append(Query(name=name, path=images[image], truths=truths, box=box, group=group))
    notes = [f"{len(corrupt)} corrupt images of Paris6k left out, first {corrupt[0]}"] if corrupt else []
    return RetrievalSet(
        layout="oxford", root=root, database=[images[name] for name in names], queries=queries, notes=notes
    )


def region(values: list[Any]) -> Box:
    """The values as a box x1, y1, x2, y2.

    Raises:
        ValueError: unless x1 < x2 and y1 < y2.
    """
    left, top, right, bottom = (float(value) for value in values)
    if not (left < right and top < bottom):
        raise ValueError(f"a region x1 y1 x2 y2 must have x1 < x2 and y1 < y2, got {values}")
    return left, top, right, bottom


def _listed(file: Path, number: dict[str, int]) -> frozenset[int]:
    """Numbers of the images that a file of the ground truth names, without the corrupt ones."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing; every X_query.txt needs X_good.txt, X_ok.txt and X_junk.txt")
    names = [name for name in file.read_text().split() if name not in CORRUPT]
    missing = [name for name in names if name not in number]
    if missing:
        raise ValueError(f"{file} names {len(missing)} images that are not in jpg/, first {missing[0]}")
    return frozenset(number[name] for name in names)


def images_by_name(root: Path) -> dict[str, Path]:
    """The images below ``jpg/``: name without folder and extension -> path."""
    folder = root / "jpg"
    if not folder.is_dir():
        raise FileNotFoundError(f"evaluation.root={root} has no folder jpg/; unpack the images there")
    images: dict[str, Path] = {}
    for path in images_in(folder):
        if path.stem in images:
            raise ValueError(f"{path} and {images[path.stem]} have the same name, but the ground truth has only names")
        images[path.stem] = path
    return images
