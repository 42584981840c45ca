"""Which way up an image is: one rule for every format and every decoder. Used by decode.py and shrunk.py."""

import re

from torch import Tensor

from deepcluster.data.metadata import ORIENTATION, metadata_of, number_in_tiff

_XMP_WORD = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*(\d+)")


def orientation(exif: bytes, xmp: bytes) -> int:
    """EXIF's orientation of an image, 1 to 8 (1: upright): what EXIF says, else what XMP says, else 1.

    A damaged value, or one that is not from 1 to 8, is ignored.

    Args:
        exif: the block, with or without its name in front; empty: none.
        xmp: the packet; empty: none.
    """
    word = _XMP_WORD.search(xmp)
    candidates = (number_in_tiff(exif.removeprefix(b"Exif\0\0"), ORIENTATION), 0 if word is None else int(word[1][:3]))
    return next((value for value in candidates if 1 <= value <= 8), 1)


def orientation_in(data: bytes) -> int:
    """The orientation of an encoded JPEG, PNG, WebP, GIF or TIFF; 1 for other formats."""
    return orientation(*metadata_of(data))


def upright(pixels: Tensor, turned: int) -> Tensor:
    """Turn and mirror an image (C, H, W) of EXIF orientation `turned` so that it stands as its photographer saw it."""
    if turned >= 5:
        pixels = pixels.transpose(1, 2)
    axes = {2: [2], 3: [1, 2], 4: [1], 6: [2], 7: [1, 2], 8: [1]}.get(turned)
    return pixels if axes is None else pixels.flip(axes)
