"""Image files that are named one by one, or found in folders that are: what `deepcluster predict` reads."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deepcluster.data.images import FileImages, ImageSet
from deepcluster.data.reading_settings import Reading
from deepcluster.data.scan import choose_check, scan
from deepcluster.data.settings import Folder
from deepcluster.data.sources.index import images_below
from deepcluster.data.sources.photographs import EXTENSIONS


@dataclass(kw_only=True)
class Listed(Folder):
    """Files below a folder that is known, by their names.

    Args:
        names: below `root`.
        called: what they are called by in messages.
    """

    names: Sequence[str]
    called: str

    @property
    def place(self) -> str:
        return self.called


def list_pictures(paths: Sequence[str]) -> Listed:
    """The pictures that paths name: a picture, or a folder with all pictures below it.

    Of one folder alone the names are those below it; else they begin with the path as it was given.

    Raises:
        FileNotFoundError: if a path is missing, or a folder holds no pictures.
        ValueError: if there are no paths.
    """
    if not paths:
        raise ValueError("no pictures are named: give a folder, or paths of pictures")
    if len(paths) == 1 and os.path.isdir(paths[0]):
        return Listed(root=paths[0], names=_below(paths[0]), called=paths[0])
    names: list[str] = []
    for path in paths:
        if os.path.isdir(path):
            names += (os.path.join(path, name) for name in _below(path))
        elif os.path.isfile(path):
            names.append(path)
        else:
            raise FileNotFoundError(f"{path} does not exist; give a folder, or paths of pictures")
    return Listed(root=os.curdir, names=names, called=paths[0] if len(paths) == 1 else f"{len(paths):,} paths")


def load_listed(settings: Listed, reading: Reading, n_channels: int) -> ImageSet:
    """The pictures, read like those of a folder; nothing of them is remembered for another time.

    Raises:
        ValueError: if some cannot be decoded (reading.on_broken=error), or none can.
    """
    images = FileImages(root=Path(settings.root), samples=settings.names, n_channels=n_channels)
    check = choose_check(images, reading)
    return scan(images, settings, replace(reading, cache_dir="none"), "test", check, least=1)


def _below(folder: str) -> Sequence[str]:
    names = images_below(folder)
    if not names:
        raise FileNotFoundError(f"no images under {folder}; looked for {', '.join(EXTENSIONS)}")
    return names
