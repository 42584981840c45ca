"""A JPEG decoded at 1/2, 1/4 or 1/8 of its size, where a view would shrink it as much anyway. Next: views.py.

libjpeg then leaves out most of the inverse cosine transform; reading the file and its Huffman codes remains. So large
photographs take about half of the time, and none is ever enlarged that would not have been.
"""

import io
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from deepcluster.data.crops import first_of_centre, resized_sides, square
from deepcluster.data.decode import MAX_PIXELS, WHITE, decode_named, to_channels
from deepcluster.data.orientation import orientation_in, upright

Shrink = Callable[[int, int], float]  # (height, width) of an image -> how many times smaller it may be decoded
_FACTORS = (8, 4, 2)


class Shrunk(NamedTuple):
    """An image that may have been decoded smaller.

    Attributes:
        pixels: uint8 (C, ceil(height / by), ceil(width / by)); a pixel is the mean of `by` x `by` of the image.
        height, width: of the image itself.
        by: 1, 2, 4 or 8.
    """

    pixels: Tensor
    height: int
    width: int
    by: int = 1


def whole(pixels: Tensor) -> Shrunk:
    """An image (C, H, W) as it is."""
    return Shrunk(pixels, pixels.shape[1], pixels.shape[2])


def as_small_as_can_be(height: int, width: int) -> float:
    """A :data:`Shrink` for those who only want to know if an image can be decoded."""
    return math.inf


def to_short_side(resize: int) -> Shrink:
    """The :data:`Shrink` of those who bring the short side to `resize`."""
    return lambda height, width: min(height, width) / resize


def decode_shrunk(data: bytes, n_channels: int, name: str, shrink: Shrink | None, max_value: int = WHITE) -> Shrunk:
    """Like :func:`decode_named`, but a JPEG may come smaller; None: as it is.

    Raises:
        BrokenImage: as there.
    """
    small = None if shrink is None else _decode_small(data, n_channels, shrink)
    return whole(decode_named(data, n_channels, name, max_value)) if small is None else small


def _decode_small(data: bytes, n_channels: int, shrink: Shrink) -> Shrunk | None:
    """The JPEG, smaller; None if it may not be, or is none, or is broken: then :func:`decode` has the last word."""
    if data[:3] != b"\xff\xd8\xff" or n_channels > 4:
        return None
    try:
        with Image.open(io.BytesIO(data)) as opened:
            stored = opened.size
            turned = orientation_in(data)
            width, height = stored[::-1] if turned >= 5 else stored
            # Pillow warns of images beyond half of that; CMYK is left to torchvision, which knows its variants
            if opened.mode not in ("L", "RGB") or height * width > MAX_PIXELS // 2:
                return None
            by = _factor(shrink(height, width), stored, turned != 1)
            if by == 1:
                return None
            opened.draft("L" if n_channels <= 2 else "RGB", (stored[0] // by, stored[1] // by))
            pixels = np.array(opened)
    except Exception:  # decoders raise whatever they like on damaged data
        return None
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    image = upright(torch.from_numpy(pixels).permute(2, 0, 1), turned)
    assert image.shape[1:] == (-(-height // by), -(-width // by)), "libjpeg rounds up"
    return Shrunk(to_channels(image, n_channels), height, width, by)


def _factor(shrink: float, stored: tuple[int, int], turned: bool) -> int:
    """The largest of libjpeg's that is allowed.

    The last row and column may stand for less than `by` pixels. Of an image that EXIF turns they might come to lie at
    the top or on the left, and all others would be moved.
    """
    fits = (by for by in _FACTORS if shrink >= by and not (turned and any(side % by for side in stored)))
    return next((by for by in fits if min(stored) >= by), 1)


def cut(image: Shrunk, box: list[int], size: int) -> Tensor:
    """torchvision's resized_crop of a box (top, left, height, width) of the image itself: uint8 (C, size, size)."""
    top, left, height, width = box
    by = image.by
    if by == 1:
        cropped: Tensor = TF.resized_crop(image.pixels, top, left, height, width, [size, size], antialias=True)
        return cropped
    first_row, first_column = top // by, left // by  # a crop sees nothing beyond its own edge
    part = image.pixels[:, first_row : -(-(top + height) // by), first_column : -(-(left + width) // by)]
    y, x = top / by - first_row, left / by - first_column
    return _resampled(part, (x, y, x + width / by, y + height / by), size, size)


def short_side(image: Shrunk, resize: int) -> Tensor:
    """torchvision's resize: the short side of the image to `resize`; uint8 (C, h, w)."""
    if image.by == 1:
        resized: Tensor = TF.resize(image.pixels, [resize], antialias=True)
        return resized
    height, width = resized_sides(image.height, image.width, resize)
    return _resampled(image.pixels, (0, 0, image.width / image.by, image.height / image.by), height, width)


def central_square(image: Shrunk, resize: int, size: int) -> Tensor:
    """The image's short side to `resize`, then the central square of `size`; uint8 (C, size, size)."""
    if image.by == 1:
        return square(image.pixels, resize, size)
    box: list[float] = []
    resized_height, resized_width = resized_sides(image.height, image.width, resize)
    for side, resized in ((image.width, resized_width), (image.height, resized_height)):
        first = first_of_centre(resized, size)
        box += [edge * side / resized / image.by for edge in (first, first + size)]
    left, right, top, bottom = box
    return _resampled(image.pixels, (left, top, right, bottom), size, size)


def _resampled(pixels: Tensor, box: tuple[float, float, float, float], height: int, width: int) -> Tensor:
    """A box (left, top, right, bottom), also between pixels, by torchvision's law, which is Pillow's."""
    n_channels = len(pixels)
    if n_channels in (2, 4):  # a JPEG's alpha is opaque
        return to_channels(_resampled(pixels[:-1], box, height, width), n_channels)
    rows = pixels[0] if n_channels == 1 else pixels.permute(1, 2, 0)
    image = Image.fromarray(rows.numpy())
    inside = (*box[:2], min(box[2], image.width), min(box[3], image.height))  # but for rounding it is
    resized = torch.from_numpy(np.array(image.resize((width, height), Image.Resampling.BILINEAR, box=inside)))
    return resized[None] if n_channels == 1 else resized.permute(2, 0, 1)
