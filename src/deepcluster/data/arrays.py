"""The bytes of a .npy file to pixels (C, H, W): images of any number of channels. Used by decode.py."""

import io

import numpy as np
from numpy.typing import NDArray

MAGIC = b"\x93NUMPY"
# Above this the last axis is more likely a width. (C, H, W) read as (H, W, C) has no error of its own.
MOST_CHANNELS = 64
Pixels = NDArray[np.uint8] | NDArray[np.uint16]
_WAY_OUT = "move the file out of data.root if it is no image"


def read_array(data: bytes, n_channels: int | None) -> Pixels:
    """The pixels (C, H, W), uint8 or uint16, of an array stored as (H, W) or (H, W, C).

    Args:
        data: a .npy file.
        n_channels: the number of channels that is expected; None: not known yet.

    Raises:
        ValueError: with the reason: another type or shape, another number of channels, or a damaged file. Objects are
            never unpickled.
    """
    try:
        shape, dtype, start = _header(data)
    except Exception as error:  # numpy's parser raises whatever it meets in a damaged header
        raise ValueError(f"the header of the .npy file is damaged or of an unknown version: {error}") from error
    if dtype.kind != "u" or dtype.itemsize > 2:
        raise ValueError(f"the array holds {dtype}, a .npy image uint8 or uint16; convert it, or {_WAY_OUT}")
    if len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(f"the array has the shape {shape}, a .npy image (H, W) or (H, W, C); {_WAY_OUT}")
    n_bytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if len(data) - start != n_bytes:
        raise ValueError(f"{len(data) - start:,} bytes of pixels, the header promises {n_bytes:,}; the file is damaged")
    own_channels = shape[2] if len(shape) == 3 else 1
    if own_channels != n_channels:
        if _may_be_planes(shape):
            raise ValueError(
                f"the shape {shape} is read as (H, W, C) and gives {own_channels} channels: store (C, H, W) as "
                f"array.transpose(1, 2, 0), or set data.n_channels={own_channels} if that is right"
            )
        if n_channels is not None:
            raise ValueError(
                f"the array has {own_channels} channel{'s' if own_channels > 1 else ''}, the set {n_channels} "
                "(data.n_channels, or what the first ones have); all arrays of a set need the same number"
            )
    loaded = np.load(io.BytesIO(data), allow_pickle=False)
    pixels: Pixels = loaded.astype(dtype.newbyteorder("="), copy=False)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _header(data: bytes) -> tuple[tuple[int, ...], np.dtype[np.generic], int]:
    """Shape, type, and where the pixels begin. Version 3 is for names of fields, which images do not have."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, _, dtype = read(file)
    return shape, dtype, file.tell()


def _may_be_planes(shape: tuple[int, ...]) -> bool:
    """If (H, W, C) looks like (C, H, W): too many channels, or planes that are square."""
    return len(shape) == 3 and (shape[2] > MOST_CHANNELS or shape[0] < shape[1] == shape[2])
