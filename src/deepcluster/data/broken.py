"""Images that turn out broken after the scan, in the middle of a run. Used by loader.py."""

import logging
from typing import NamedTuple

from deepcluster.data.decode import BrokenImage, UnreadableImage
from deepcluster.data.images import DecodedImages, ImageSet

_N_NAMED = 20
_MOST = (100, 0.01)  # this many, or this share of the set: more is no accident
_log = logging.getLogger(__name__)


class Broken(NamedTuple):
    """What a worker tells of an image that it shows in grey instead."""

    i: int
    reason: str
    unreadable: bool  # the file itself, not only what is in it


def note_broken(images: ImageSet, newly_broken: list[Broken]) -> None:
    """Tell of each image once, and go on if reading.on_broken=skip.

    A set keeps its size and order while a run goes on, because its clusters and its place in an epoch count on them.

    Raises:
        BrokenImage: if reading.on_broken=error, if a file is gone, or if too many images are broken.
    """
    assert isinstance(images, DecodedImages), "images in memory cannot break"
    for image in newly_broken:
        name = images.samples[image.i]
        if image.unreadable:  # a disk that is gone must not become an epoch of grey
            raise UnreadableImage(f"{image.reason}; put it back, then go on with resume=RUN", name)
        if images.on_broken == "error":
            raise BrokenImage(
                f"{image.reason}; reading.on_broken=skip shows such images in grey, also in a resumed run; "
                "reading.check=all finds them before a new one",
                name,
            )
        if image.i in images.broken_later:
            continue
        images.broken_later[image.i] = image.reason
        n = len(images.broken_later)
        if n > max(_MOST[0], _MOST[1] * len(images)):
            raise BrokenImage(
                f"{image.reason}; it is broken image number {n:,} of {len(images):,}, too many to go on: look at the "
                "disk, or start a new run with reading.check=all, which leaves them out",
                name,
            )
        if n <= _N_NAMED:
            _log.warning("%r cannot be decoded and is shown in grey: %s", name, image.reason)
        elif n % 100 == 0:
            _log.warning("%s images cannot be decoded and are shown in grey", f"{n:,}")
