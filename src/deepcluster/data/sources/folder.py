"""data=folder: image and .npy files in any of the usual layouts. Next: scan.py decodes them once."""

import os
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
from deepcluster.data.sources.index import EXTENSIONS, HIDDEN, find_images
from deepcluster.data.sources.paths import Paths
from deepcluster.system.threads import in_threads

SPLIT_FOLDERS = {"train": ("train",), "test": ("test", "val", "validation", "valid")}
_N_PROBED = 64


def load_folder(settings: Folder, reading: Reading, split: str) -> ImageSet | None:
    """The images of a split; None if there is no test split.

    Layouts: DIR/train and DIR/test (or val, validation, valid; Train, TEST ... too), else all of DIR is the
    training set. In it,
    class folders (every image exactly one level down, at least two folders) give labels for reports; any
    other depth is an unlabelled set. Hidden files are left out; links to folders are followed, but not in
    circles. A .npy file is one image (H, W) or (H, W, C), uint8 or uint16, with any number of channels.

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
    found = {"train": find_images(str(train_folder), settings, reading)}
    if folders["test"] is not None:
        found["test"] = find_images(str(folders["test"]), settings, reading)
    for name in {"train", split}:
        if not found[name][0]:
            raise FileNotFoundError(
                f"no images under {folders[name] or root} (data.root={root}); looked for {', '.join(EXTENSIONS)}"
            )
    files, files_fingerprint = found[split]
    names = {name: _classes(paths) for name, (paths, _) in found.items()}
    classes = sorted(set().union(*names.values()))
    labelled = settings.labels == "auto" and len(classes) > 1 and bool(names[split])
    labels = _labels(files, classes) if labelled else None
    prefix = "" if (folder := folders[split]) is None else f"{folder.name}/"
    samples: Sequence[str] = replace(files, prefix=prefix)
    if settings.limit is not None and settings.limit < len(files):
        chosen = evenly_spaced(len(files), settings.limit)
        samples = [samples[i] for i in chosen]
        labels = None if labels is None else labels[torch.as_tensor(chosen)]
    images = FileImages(
        root=root,
        samples=samples,
        n_channels=settings.n_channels or _probe_channels(train_folder, found["train"][0], reading.timeout_s),
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
    root = Path(typed).expanduser()
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise FileNotFoundError(f"data.root={root} {what}; it must be a folder with images ({', '.join(EXTENSIONS)})")
    return root


def _split_folder(root: Path, split: str) -> Path | None:
    """The first that is there; beside class folders to learn from, the first with folders in it.

    ImageNet as it is unpacked has test/ without labels beside val/ with them.
    """
    named = {name.lower(): root / name for name in sorted(os.listdir(root)) if (root / name).is_dir()}
    there = [named[name] for name in SPLIT_FOLDERS[split] if name in named]
    if len(there) > 1 and "train" in named and _has_folders(named["train"]):
        there = [folder for folder in there if _has_folders(folder)] or there
    return next(iter(there), None)


def _has_folders(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.is_dir() for entry in entries if not entry.name.startswith("."))


def _check_is_split(root: Path, train: Path) -> None:
    """A folder named train beside bus and car is a class like them, not the training images."""
    others = [other for other in sorted(root.iterdir()) if other != train and other.is_dir()]
    beside = [other.name for other in others if not other.name.startswith(HIDDEN) and _has_images(other)]
    if beside:
        names = ", ".join(f"{name}/" for name in beside[:3]) + (", ..." if len(beside) > 3 else "")
        raise ValueError(
            f"data.root={root} has {train.name}/ beside {names} with images: give data.root={train} if that is the "
            f"training set; if it is a class like the others, move all of them into one new {root}/train/"
        )


def _has_images(folder: Path) -> bool:
    return any(name.lower().endswith(EXTENSIONS) for _, _, names in os.walk(folder) for name in names)


def _classes(files: Paths) -> set[str]:
    """Names of the class folders; empty if an image lies elsewhere than one level down."""
    folders = {files.folders[i] for i in np.unique(files.run_folders)}
    return {folder[:-1] for folder in folders} if all(folder.count("/") == 1 for folder in folders) else set()


def _labels(files: Paths, classes: list[str]) -> Tensor:
    number = {f"{name}/": i for i, name in enumerate(classes)}
    numbers = torch.tensor([number.get(folder, -1) for folder in files.folders])  # -1: folders without images
    return numbers[torch.from_numpy(files.folder_numbers())]


def _probe_channels(folder: Path, files: Paths, timeout_s: float | None) -> int:
    """Of evenly spaced images: those of the first array, if there is one; else 1 if all are grey, else 3."""
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
