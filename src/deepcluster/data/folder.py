"""data.source=folder: image files in any of the usual layouts. Next: scan.py decodes them once."""

import logging
import mimetypes
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from deepcluster.data.cache import fingerprint
from deepcluster.data.decode import BrokenImage, decode_file
from deepcluster.data.images import FileImages, ImageSet, evenly_spaced
from deepcluster.data.scan import scan
from deepcluster.data.settings import Data

_log = logging.getLogger(__name__)
EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
SPLIT_FOLDERS = {"train": ("train",), "test": ("test", "val", "validation", "valid")}
_N_PROBED = 64


def load_folder(settings: Data, split: str) -> ImageSet | None:
    """The images of a split; None if there is no test split.

    Layouts: DIR/train and DIR/test (or val, validation, valid; Train, TEST ... too), else all of DIR is the
    training set. In it,
    class folders (every image exactly one level down, at least two folders) give labels for reports; any
    other depth is an unlabelled set. Hidden files are left out; links to folders are followed, but not in
    circles.

    Raises:
        FileNotFoundError: if data.root is missing, no folder, or holds no images.
        ValueError: if it cannot be told whether train/ is a split or a class; from :func:`scan`.
    """
    root = _root(settings)
    folders = {name: _split_folder(root, name) for name in SPLIT_FOLDERS}
    if split == "test" and folders["test"] is None:
        return None
    if folders["train"] is None and folders["test"] is not None:
        raise ValueError(
            f"data.root={root} has {folders['test'].name}/ but no train/; rename it, or point data.root at the images"
        )
    if folders["train"] is not None and folders["test"] is None:
        _check_is_split(root, folders["train"])
    others: Counter[str] = Counter()
    files = {name: [] if folder is None else list(_files(folder, others)) for name, folder in folders.items()}
    if folders["train"] is None:
        files["train"] = list(_files(root, others))
    if others and split == "train":
        kinds = ", ".join(f"{n:,} {kind}" for kind, n in others.most_common())
        _log.warning(
            "data.root=%s: %s files are left out; convert them to one of %s", root, kinds, " ".join(EXTENSIONS)
        )
    for name in {"train", split}:
        if not files[name]:
            raise FileNotFoundError(
                f"no images under {folders[name] or root} (data.root={root}); looked for {', '.join(EXTENSIONS)}"
            )
    classes = _classes(files["train"]) | _classes(files["test"])
    chosen = [files[split][i] for i in evenly_spaced(len(files[split]), settings.limit)]
    labels = _labels(chosen, sorted(classes)) if settings.labels == "auto" and _classes(files[split]) else None
    prefix = "" if (folder := folders[split]) is None else f"{folder.name}/"
    samples = [prefix + "/".join(parts) for parts in chosen]
    train_folder = folders["train"] or root
    images = FileImages(
        root=root,
        samples=samples,
        n_channels=settings.n_channels or _probe_channels(train_folder, files["train"]),
        labels=labels if len(classes) > 1 else None,
        classes=sorted(classes) if labels is not None and len(classes) > 1 else None,
        fingerprint=fingerprint(str(root.resolve()), files=((name, os.path.join(root, name)) for name in samples)),
    )
    return scan(images, settings, split)


def _root(settings: Data) -> Path:
    if settings.root is None:
        raise ValueError("data.source=folder needs data.root=DIR, the folder with the images")
    root = Path(settings.root).expanduser()
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise FileNotFoundError(f"data.root={root} {what}; it must be a folder with images ({', '.join(EXTENSIONS)})")
    return root


def _split_folder(root: Path, split: str) -> Path | None:
    there = {name.lower(): root / name for name in sorted(os.listdir(root)) if (root / name).is_dir()}
    return next((there[name] for name in SPLIT_FOLDERS[split] if name in there), None)


def _check_is_split(root: Path, train: Path) -> None:
    """A folder named train beside bus and car is a class like them, not the training images."""
    beside = [other for other in sorted(root.iterdir()) if other != train and other.is_dir()]
    beside = [
        other for other in beside if not other.name.startswith((".", "__MACOSX")) and any(_files(other, Counter()))
    ]
    if beside:
        names = ", ".join(f"{other.name}/" for other in beside[:3]) + (", ..." if len(beside) > 3 else "")
        raise ValueError(
            f"data.root={root} has {train.name}/ beside {names} with images: give data.root={train} if that is the "
            f"training set; if it is a class like the others, move all of them into one new {root}/train/"
        )


def _files(
    folder: str | Path,
    others: Counter[str],
    above: tuple[str, ...] = (),
    seen: tuple[tuple[int, int], ...] = (),
) -> Iterator[tuple[str, ...]]:
    """Image files as path parts below the first folder, sorted; `seen` are the folders on the way down.

    Images of other formats are counted in `others`, by extension.
    """
    status = os.stat(folder)
    identity = (status.st_dev, status.st_ino)
    if identity in seen:
        return
    with os.scandir(folder) as listing:
        entries = sorted(
            (entry for entry in listing if not entry.name.startswith((".", "__MACOSX"))), key=lambda e: e.name
        )
    for entry in entries:
        if entry.is_dir():
            yield from _files(entry.path, others, (*above, entry.name), (*seen, identity))
        elif entry.name.lower().endswith(EXTENSIONS):
            yield (*above, entry.name)
        elif (mimetypes.guess_type(entry.name, strict=False)[0] or "").startswith("image/"):
            others[os.path.splitext(entry.name)[1].lower()] += 1


def _classes(files: list[tuple[str, ...]]) -> set[str]:
    """Names of the class folders; empty if an image lies elsewhere than one level down."""
    return {parts[0] for parts in files} if all(len(parts) == 2 for parts in files) else set()


def _labels(files: list[tuple[str, ...]], classes: list[str]) -> Tensor:
    number = {name: i for i, name in enumerate(classes)}
    return torch.tensor([number[parts[0]] for parts in files], dtype=torch.int64)


def _probe_channels(folder: Path, files: list[tuple[str, ...]]) -> int:
    """1 if evenly spaced images are all grey, else 3."""
    for i in evenly_spaced(len(files), _N_PROBED):
        try:
            image = decode_file(os.path.join(folder, *files[i]), 3)
        except BrokenImage:
            continue  # the scan reports it
        if not is_grey(image):
            return 3
    return 1


def is_grey(image: Tensor) -> bool:
    """If the three channels of an image (3, H, W) are equal."""
    return bool((image[0] == image[1]).all() and (image[0] == image[2]).all())
