"""data=folder: image and .npy files in any of the usual layouts. Next: scan.py decodes them once."""

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deepcluster.data.cache import fingerprint
from deepcluster.data.decode import BrokenImage, channels_of, read_file
from deepcluster.data.images import FileImages, ImageSet, evenly_spaced
from deepcluster.data.reading_settings import Reading
from deepcluster.data.scan import choose_check, scan
from deepcluster.data.settings import Folder
from deepcluster.data.sources.index import find_images, images_below
from deepcluster.data.sources.left_out import say_once
from deepcluster.data.sources.paths import Paths
from deepcluster.data.sources.photographs import EXTENSIONS, is_hidden, is_of_system, is_ours
from deepcluster.system.names import composed
from deepcluster.system.threads import in_threads

SPLIT_FOLDERS = {"train": ("train",), "test": ("test", "val", "validation", "valid")}
_N_PROBED = 64


def load_folder(settings: Folder, reading: Reading, split: str) -> ImageSet | None:
    """The images of a split; None if there is no test split.

    Layouts: DIR/train and DIR/test (or val, validation, valid; Train, TEST ... too), else all of DIR is the
    training set. In it, class folders (every image exactly one level down, at least two folders) give labels for
    reports; any other depth is an unlabelled set. What counts as an image: photographs.py. A .npy file is one image
    (H, W) or (H, W, C), uint8 or uint16, with any number of channels.

    Raises:
        FileNotFoundError: if data.root is missing, no folder, or holds no images.
        ValueError: if it cannot be told whether train/ is a split or a class; from :func:`scan`.
    """
    root = _root(settings.root)
    folders = {name: _split_folder(root, name) for name in SPLIT_FOLDERS}
    if split == "test" and folders["test"] is None:
        return None
    if folders["train"] is None and folders["test"] is not None:
        raise ValueError(
            f"data.root={root} has {folders['test'].name}/ but no train/; rename it, or point data.root at the images"
        )
    if folders["train"] is not None and folders["test"] is None:
        _check_is_split(root, folders["train"])
    train_folder = folders["train"] or root
    listings = {"train": find_images(str(train_folder), settings, reading)}
    if folders["test"] is not None:
        listings["test"] = find_images(str(folders["test"]), settings, reading)
    for name in {"train", split}:
        if not listings[name][0]:
            raise FileNotFoundError(
                f"no images under {folders[name] or root} (data.root={root}); looked for {', '.join(EXTENSIONS)}"
            )
    files, files_fingerprint = listings[split]
    class_names = {name: _classes(paths) for name, (paths, _) in listings.items()}
    classes = sorted({name for of_split in class_names.values() for name in of_split.values()})
    labelled = settings.labels == "auto" and len(classes) > 1 and bool(class_names[split])
    labels = _labels(files, class_names[split], classes) if labelled else None
    if settings.labels == "auto" and not class_names[split]:
        _tell_of_strays(folders[split] or root, files)
    prefix = "" if (folder := folders[split]) is None else f"{folder.name}/"
    samples: Sequence[str] = replace(files, prefix=prefix)
    if settings.limit is not None and settings.limit < len(files):
        chosen = evenly_spaced(len(files), settings.limit)
        samples = [samples[i] for i in chosen]
        labels = None if labels is None else labels[torch.as_tensor(chosen)]
    images = FileImages(
        root=root,
        samples=samples,
        n_channels=settings.n_channels or _probe_channels(train_folder, listings["train"][0], reading.timeout_s),
        labels=labels,
        classes=classes if labelled else None,
        fingerprint=fingerprint(str(root.resolve()), files_fingerprint),
    )
    check = choose_check(images, reading)
    if check == "all":  # then each file's own size and time count too
        files_of_set = ((name, os.path.join(root, name)) for name in samples)
        images = replace(images, fingerprint=fingerprint(str(root.resolve()), files=files_of_set))
    return scan(images, settings, reading, split, check)


def _root(typed: str) -> Path:
    root = Path(typed)
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise FileNotFoundError(f"data.root={root} {what}; it must be a folder with images ({', '.join(EXTENSIONS)})")
    if not os.access(root, os.R_OK | os.X_OK):
        raise ValueError(f"data.root={root} may not be read: no permission; ask its owner, or chmod -R u+rX it")
    return root


def _split_folder(root: Path, split: str) -> Path | None:
    """The first of a split's possible folders that exists; if train/ has class folders, the first that has folders too.

    ImageNet as it is unpacked has test/ without labels beside val/ with them.
    """
    named = {name.lower(): root / name for name in sorted(os.listdir(root)) if (root / name).is_dir()}
    candidates = [named[name] for name in SPLIT_FOLDERS[split] if name in named]
    if len(candidates) > 1 and "train" in named and _has_folders(named["train"]):
        candidates = [folder for folder in candidates if _has_folders(folder)] or candidates
    return next(iter(candidates), None)


def _has_folders(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(not _is_left_out(Path(entry)) for entry in entries if entry.is_dir())


def _check_is_split(root: Path, train: Path) -> None:
    """A folder named train beside bus and car is a class like them, not the training images."""
    others = [other for other in sorted(root.iterdir()) if other != train and other.is_dir()]
    beside = [other.name for other in others if not _is_left_out(other) and len(images_below(str(other)))]
    if beside:
        names = ", ".join(f"{name}/" for name in beside[:3]) + (", ..." if len(beside) > 3 else "")
        raise ValueError(
            f"data.root={root} has {train.name}/ beside {names} with images: give data.root={train} if that is the "
            f"training set; if it is a class like the others, move all of them into one new {root}/train/"
        )


def _is_left_out(folder: Path) -> bool:
    """Whether the walk leaves this folder out."""
    if is_hidden(folder.name) or is_of_system(folder.name):
        return True
    return not os.access(folder, os.R_OK | os.X_OK) or is_ours(os.listdir(folder))


def _classes(files: Paths) -> dict[str, str]:
    """Folder -> class; empty if an image lies elsewhere than one level down.

    A class is called as its folder, with accents as one character, so that train/ and test/ may differ in that.
    """
    folders = [files.folders[i] for i in np.unique(files.run_folders)]
    if any(folder.count("/") != 1 for folder in folders):
        return {}
    n_alike = Counter(composed(folder) for folder in folders)
    return {folder: (composed(folder) if n_alike[composed(folder)] == 1 else folder)[:-1] for folder in folders}


def _labels(files: Paths, class_names: dict[str, str], classes: list[str]) -> Tensor:
    number = {name: i for i, name in enumerate(classes)}
    numbers = [number[class_names[folder]] if folder in class_names else -1 for folder in files.folders]
    return torch.tensor(numbers)[torch.from_numpy(files.folder_numbers())]  # -1: folders without images


def _tell_of_strays(folder: Path, files: Paths) -> None:
    """Some images lie in class folders and others do not, so that none has a label."""
    n_images = np.bincount(files.folder_numbers(), minlength=len(files.folders))
    is_class = np.array([path.count("/") == 1 for path in files.folders]) & (n_images > 0)
    n_strays = int(n_images[~is_class].sum())
    if is_class.sum() < 2 or n_strays == 0:
        return
    first = files[int(np.flatnonzero(~is_class[files.folder_numbers()])[0])]
    few = n_strays <= len(files) / 2
    say_once(
        logging.WARNING if few else logging.INFO,
        f"{folder}: {n_strays:,} of {len(files):,} images do not lie directly in a class folder ({first!r}"
        f"{', ...' if n_strays > 1 else ''}), so no image has a label and accuracy is not measured; "
        + ("move them into class folders or out of data.root; " if few else "")
        + "data.labels=none says that there are no classes",
    )


def _probe_channels(folder: Path, files: Paths, timeout_s: float | None) -> int:
    """Looked up in evenly spaced images: the channels of the first .npy file, if there is one; else 1 if all are grey,
    else 3.
    """
    n = min(len(files), _N_PROBED)
    probed = [files[i * len(files) // n] for i in range(n)]

    def probe(name: str) -> int:
        return channels_of(read_file(os.path.join(folder, name)))

    for name in sorted(probed, key=lambda name: not name.lower().endswith(".npy")):
        try:
            n_channels = in_threads([name], probe, n_threads=1, timeout_s=timeout_s, name=repr)[0]
        except BrokenImage:
            continue  # the scan reports it
        if n_channels != 1 or name.lower().endswith(".npy"):
            return n_channels
    return 1
