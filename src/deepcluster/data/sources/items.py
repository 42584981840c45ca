"""What an item of a litdata set holds: which field is the image, which the label. Used by streamed.py, chunks.py."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from deepcluster.data.decode import BrokenImage
from deepcluster.data.settings import TableSource
from deepcluster.data.sources.tables import LABEL_NAMES

# Pillow's modes that are not grey or colours
_MODES = {"1": "L", "P": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "HSV": "RGB", "LAB": "RGB"}


def image_of(item: Any, name: str | int | None) -> bytes | Tensor:
    """The image in an item: its encoded bytes, or pixels uint8 (C, H, W).

    Raises:
        BrokenImage: if there is none.
    """
    value = item if name is None else item[name]
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, Image.Image):
        with_alpha = "LA" if value.mode in ("1", "L", "LA", "La") else "RGBA"
        mode = with_alpha if value.has_transparency_data else _MODES.get(value.mode, value.mode)
        value = np.array(value.convert(mode))
    planes_first = isinstance(value, Tensor)
    pixels = value if isinstance(value, Tensor) else torch.from_numpy(np.ascontiguousarray(value))
    if pixels.dtype != torch.uint8 or pixels.ndim not in (2, 3):
        raise BrokenImage(
            f"it is an array of {pixels.dtype} of shape {tuple(pixels.shape)}, not of uint8 and 2 or 3 axes"
        )
    if pixels.ndim == 2:
        return pixels[None].clone()
    first, last = (1 <= pixels.shape[axis] <= 4 for axis in (0, 2))
    if first != last:  # where both or neither can be channels, tensors are torchvision's and arrays Pillow's
        planes_first = first
    # a copy: a tensor of litdata's is a view of a chunk that may be closed
    return pixels.clone() if planes_first else pixels.permute(2, 0, 1).contiguous()


def fields(item: Any) -> dict[str | int, Any]:
    """An item's fields by key or number; none if it has no parts."""
    if isinstance(item, dict):
        return item
    return dict(enumerate(item)) if isinstance(item, list | tuple) else {}


def listed(item: Any) -> str:
    """The fields and what they hold."""
    return ", ".join(f"{name} ({type(value).__name__})" for name, value in fields(item).items())


def _may_be_image(value: Any) -> bool:
    if isinstance(value, np.ndarray | Tensor):
        return value.ndim in (2, 3) and str(value.dtype).endswith("uint8")
    return isinstance(value, bytes | bytearray | memoryview | Image.Image)


def image_field(item: Any, settings: TableSource) -> str | int | None:
    """data.image_column, or the only field that can be an image, in the first item as in all; None: the item itself.

    Raises:
        ValueError: with a list of the fields, if it is none, or if none or several can be.
    """
    there, chosen = fields(item), settings.image_column
    if not there:
        if chosen is not None or not _may_be_image(item):
            raise ValueError(
                f"the items of {settings.place} are {type(item).__name__}, not images or fields with images"
                + (f"; data.image_column={chosen} is none of them" if chosen is not None else "")
            )
        return None
    if chosen is not None:
        name = next((name for name in there if str(name) == chosen), None)
        if name is None or not _may_be_image(there[name]):
            raise ValueError(f"data.image_column={chosen} holds no images; the fields are {listed(item)}")
        return name
    candidates = [name for name, value in there.items() if _may_be_image(value)]
    if len(candidates) != 1:
        what = "several of which may hold the images" if candidates else "none of which holds images"
        raise ValueError(
            f"the items of {settings.place} have the fields {listed(item)}, {what}; say which: data.image_column=NAME"
        )
    return candidates[0]


def label_field(item: Any, settings: TableSource) -> str | int | None:
    """data.label_column, or the integer of a usual name in a dict, or the only one in a tuple; None without any.

    Raises:
        ValueError: with a list of the fields, if it holds no integers.
    """
    there, chosen = fields(item), settings.label_column
    if chosen is not None:
        name = next((name for name in there if str(name) == chosen), None)
        if name is None or integer(there[name]) is None:
            raise ValueError(f"data.label_column={chosen} holds no integers; the fields are {listed(item)}")
        return name
    candidates: list[str | int] = [name for name, value in there.items() if integer(value) is not None]
    if isinstance(item, dict):
        return next((name for name in LABEL_NAMES if name in candidates), None)
    return candidates[0] if len(candidates) == 1 else None


def integer(value: Any) -> int | None:
    """A label, of Python, numpy or torch; None if it is none."""
    if isinstance(value, np.ndarray | Tensor | np.generic) and value.ndim == 0:
        value = value.item()
    return value if isinstance(value, int) and not isinstance(value, bool) else None
