"""One encoded image to uint8 (C, H, W): every format and pixel type. Next: scan.py decodes a whole set."""

import io
import os
import struct
import threading
import warnings
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, decode_png, decode_webp

from deepcluster.data import png
from deepcluster.data.arrays import MAGIC, read_array
from deepcluster.data.metadata import tiff_without_metadata
from deepcluster.data.orientation import orientation, orientation_in, upright

WHITE = 65_535  # of 16 bits
LAW = 5  # raised when the same file would give other pixels, so that nothing remembered is used (5: white paper)
# Pillow's own limit, which it keeps itself (2 x 89,478,485 pixels): a header can claim any size.
MAX_PIXELS = 178_956_970
_TOO_LARGE = f"pixels are more than {MAX_PIXELS:,}; make it smaller, or cut it into tiles"
_HUGE = 1 << 25  # pixels, of which each takes up to ten bytes while it is decoded
# Pillow's other formats start programs (EPS), are no pixels, or have no signature, so that damage looks like them.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "PPM", "AVIF", "JPEG2000", "ICO", "QOI")
_GREY_MODES = ("1", "L", "P")
# Pillow warns of large images, damaged metadata, parts of animations and palettes. Each has a rule here: MAX_PIXELS,
# metadata refuse no image, the first frame counts, transparency lies on white. What is broken is an error, named once.
warnings.filterwarnings("ignore", module=r"PIL\.")


class BrokenImage(ValueError):
    """An image that cannot be decoded; the message names it and the reason."""

    def __init__(self, reason: str, name: str = "") -> None:
        super().__init__(f"{name!r}: {reason}" if name else reason)
        self.reason = reason


class UnreadableImage(BrokenImage):
    """A file that cannot be read at all (permissions, a disk that was away): another time it may be."""


def decode_file(path: str, n_channels: int, max_value: int = WHITE) -> Tensor:
    """The image in a file, uint8 (C, H, W) with C = n_channels.

    Raises:
        BrokenImage: naming the file and the reason; UnreadableImage if there is nothing to decode.
    """
    return decode_named(read_file(path), n_channels, path, max_value)


def read_file(path: str) -> bytes:
    """The bytes of a file.

    Raises:
        UnreadableImage: naming the file and the reason.
    """
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UnreadableImage(f"cannot be read: {error.strerror or error}", path) from error


def decode_named(data: bytes, n_channels: int, name: str, max_value: int = WHITE) -> Tensor:
    """Like :func:`decode`; errors name the image."""
    try:
        return decode(data, n_channels, max_value)
    except BrokenImage as error:
        raise BrokenImage(error.reason, name) from error


def decode(data: bytes, n_channels: int, max_value: int = WHITE) -> Tensor:
    """Decode an image to uint8 (C, H, W), upright, with C = n_channels.

    16-bit values from 0 to max_value become 0 to 255 (with 65,535 they are divided by 257), higher ones 255; colours
    become grey by the ITU-R 601 weights; of several frames the first counts. With 1 or 3 channels a transparent image
    is what one sees on white paper (:func:`to_channels`); 2 are grey and alpha, 4 colours and alpha (255, opaque, where
    the image has none; colours as they are stored, not weighed by it).
    torchvision decodes the common formats (1.3 to 1.6 times as fast as Pillow, and without Python's lock), a PNG after
    its parts have been checked; Pillow does the rest. Metadata are read by us alone (orientation.py): they turn every
    format by one rule, and damage in them refuses no image. The bytes of a .npy array must have n_channels (arrays.py).

    Raises:
        BrokenImage: with the reason; truncated images are errors.
    """
    image = _decode_any(data, n_channels)
    if image.dtype != torch.uint8:
        image = ((image * 510 + max_value) // (2 * max_value)).clamp(max=255).to(torch.uint8)
    return image if data.startswith(MAGIC) else to_channels(upright(image, orientation_in(data)), n_channels)


def pixels_of_file(path: str | os.PathLike[str]) -> int:
    """Height times width of an image file, by its header.

    Raises:
        OSError, ValueError: if it cannot be read, or says that it is too large.
    """
    try:
        with Image.open(path) as opened:
            return opened.width * opened.height
    except Image.DecompressionBombError as error:
        raise BrokenImage(f"its {_TOO_LARGE}") from error


def highest_16_bit_value(data: bytes, n_channels: int) -> int | None:
    """The highest value of an image that has 16 bits; None of others.

    Raises:
        BrokenImage: with the reason.
    """
    if not (data[:6] == MAGIC or data[:2] in (b"II", b"MM", b"P2", b"P5", b"P6") or data[24:25] == b"\x10"):
        return None  # what needs no decoding to tell
    image = _decode_any(data, n_channels)
    if image.dtype == torch.uint8:
        return None
    has_alpha = not data.startswith(MAGIC) and len(image) in (2, 4)  # opaque is the highest value there is
    return int((image[:-1] if has_alpha else image).max())


def _decode_any(data: bytes, n_channels: int) -> Tensor:
    """The pixels as they are stored, with alpha if the image has any or it is asked for: uint8, or int32 of 16 bits."""
    if not data:
        raise BrokenImage("the file is empty (0 bytes)")
    if data.startswith(MAGIC):
        return _decode_array(data, n_channels)
    if n_channels > 4:
        raise BrokenImage(f"an image file gives 1 to 4 channels, the set has {n_channels}; store it as a .npy array")
    image = _decode_png(data, n_channels) if data[:8] == png.SIGNATURE else _decode_fast(data, n_channels)
    return _decode_pillow(tiff_without_metadata(data), n_channels) if image is None else image


def channels_of(data: bytes) -> int:
    """How many channels the bytes of an image ask for: an array's own number, 1 of a grey image, else 3.

    Raises:
        BrokenImage: with the reason.
    """
    if data.startswith(MAGIC):
        return len(_decode_array(data, None))
    image = decode(data, 3)
    return 1 if bool((image[0] == image[1]).all() and (image[0] == image[2]).all()) else 3


def _decode_array(data: bytes, n_channels: int | None) -> Tensor:
    try:
        pixels = read_array(data, n_channels)
    except ValueError as error:
        raise BrokenImage(str(error)) from error
    return torch.from_numpy(pixels if pixels.dtype == np.uint8 else pixels.astype("i4"))


def to_channels(images: Tensor, n_channels: int) -> Tensor:
    """uint8 (..., C, H, W) with n_channels, both of 1 (grey), 2 (grey, alpha), 3 (colours), 4 (colours, alpha).

    Grey is repeated, colours are weighted, alpha is 255 where there was none. Where alpha goes, white paper shows
    through: a value v of alpha a becomes (v * a + 255 * (255 - a)) / 255, rounded. torchvision's ImageFolder shows
    what is hidden there instead: black, mostly.

    Colours stay as the decoders leave them in memory, pixel by pixel: bringing them into planes takes half as long as
    decoding, and torchvision resizes pixels faster than planes, to the same values.
    """
    if images.shape[-3] == n_channels:
        return images
    assert 1 <= images.shape[-3] <= 4 and 1 <= n_channels <= 4, "only grey, colours and alpha become each other"
    with_alpha = images.shape[-3] in (2, 4)
    shown = images[..., :-1, :, :] if with_alpha else images
    if n_channels <= 2 and shown.shape[-3] == 3:
        weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
        shown = (shown * weights).sum(-3, keepdim=True).round().to(torch.uint8)
    if n_channels in (1, 3) and with_alpha:
        shown = _on_white(shown, images[..., -1, :, :])
    if n_channels > 2 and shown.shape[-3] == 1:
        shown = shown.expand(*images.shape[:-3], 3, *images.shape[-2:]).contiguous()
    if n_channels in (1, 3):
        return shown
    alpha = images[..., -1:, :, :] if with_alpha else torch.full_like(images[..., :1, :, :], 255)
    return torch.cat([shown, alpha], -3)


def _on_white(colours: Tensor, alpha: Tensor) -> Tensor:
    """(..., C, H, W) of opacity (..., H, W) on white paper; one channel at a time, as images may be huge."""
    opacity = alpha.numpy()
    if opacity.min() == 255:  # as many screenshots are: nothing to do, an eighth of the time saved
        return colours
    paper, ink = torch.empty_like(colours), np.empty(opacity.shape, np.uint16)
    for shown, stored in zip(paper.unbind(-3), colours.unbind(-3), strict=True):
        np.multiply(255 - stored.numpy(), opacity, out=ink, dtype=np.uint16)
        ink += 127  # rounds, and stays below 65,536
        ink //= 255
        np.subtract(255, ink, out=shown.numpy(), casting="unsafe")
    return paper


def _decode_png(data: bytes, n_channels: int) -> Tensor:
    """A PNG, not yet upright: by torchvision, or by Pillow what that overlooks (palettes, few bits)."""
    try:
        header = png.read_header(data)
        with _turn(header.height, header.width):
            parts = png.read_parts(data, header, to_grey=n_channels == 1)
            clear = png.take_transparent(parts, header)
            n_stored = n_channels if clear is None else len(clear)
            if header.colour_type == png.PALETTE or header.bits < 8:
                image = _decode_pillow(bytes(png.written_anew(parts)), n_stored)
            else:
                raw = torch.frombuffer(png.written_for_libpng(parts, header), dtype=torch.uint8)
                image = decode_png(raw, mode=_png_mode(header.colour_type, n_stored))
    except BrokenImage:
        raise
    except ValueError as error:
        raise BrokenImage(str(error)) from error
    image = image if image.dtype == torch.uint8 else image.to(torch.int32)
    if clear is None:
        return image
    is_seen = (image != torch.tensor(clear).view(-1, 1, 1)).any(0, keepdim=True)
    return torch.cat([image, is_seen * torch.tensor(255 if image.dtype == torch.uint8 else WHITE, dtype=image.dtype)])


def _png_mode(colour_type: int, n_channels: int) -> ImageReadMode:
    """For `n_channels`, with alpha too where there is some."""
    with_alpha = n_channels in (2, 4) or colour_type in (png.GREY_ALPHA, png.COLOURS_ALPHA)
    if n_channels == 1:
        return ImageReadMode.GRAY_ALPHA if with_alpha else ImageReadMode.GRAY
    return ImageReadMode.RGB_ALPHA if with_alpha else ImageReadMode.RGB


def _decode_fast(data: bytes, n_channels: int) -> Tensor | None:
    """torchvision's decoder for plain JPEG and WebP, not yet upright; None leaves the image to Pillow.

    What it gives has 1 to 4 channels, with alpha where there is some or it is wanted.
    """
    try:
        kind, height, width = _header(data)
    except (struct.error, IndexError):
        return None
    if kind is None:
        return None
    with _turn(height, width):
        raw = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        try:
            if kind == "jpeg":
                image: Tensor = decode_jpeg(raw, mode=ImageReadMode.GRAY if n_channels <= 2 else ImageReadMode.RGB)
            else:
                with_alpha = n_channels in (2, 4) or (data[12:16] == b"VP8L" and data[24] & 0x10)  # libwebp's own rule
                image = decode_webp(raw, mode=ImageReadMode.RGB_ALPHA if with_alpha else ImageReadMode.RGB)
        except RuntimeError:
            return None
    return image


_turn_of_huge = threading.RLock()


def _turn(height: int, width: int) -> AbstractContextManager[object]:
    """Of huge images a process decodes one at a time, so that its many threads do not fill the memory.

    Raises:
        BrokenImage: if it is too large.
    """
    if height * width > MAX_PIXELS:
        raise BrokenImage(f"{width} x {height} {_TOO_LARGE}")
    return _turn_of_huge if height * width > _HUGE else nullcontext()


def _free_turn() -> None:
    global _turn_of_huge
    _turn_of_huge = threading.RLock()


if hasattr(os, "register_at_fork"):  # whoever had the turn in the parent never ends in the child
    os.register_at_fork(after_in_child=_free_turn)


def _header(data: bytes) -> tuple[str | None, int, int]:
    """Format and size (height, width) of the formats that torchvision decodes as we want them."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        # The extended format (VP8X: animation, metadata) is left to Pillow.
        if data[12:16] == b"VP8L" and data[20] == 0x2F:
            bits = struct.unpack("<I", data[21:25])[0]
            return "webp", ((bits >> 14) & 0x3FFF) + 1, (bits & 0x3FFF) + 1
        if data[12:16] == b"VP8 ":
            width, height = struct.unpack("<HH", data[26:30])
            return "webp", height & 0x3FFF, width & 0x3FFF
    if data[:3] == b"\xff\xd8\xff":
        return _jpeg_header(data)
    return None, 0, 0


def _jpeg_header(data: bytes) -> tuple[str | None, int, int]:
    position = 2
    while data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # padding
            position += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            height, width = struct.unpack(">HH", data[position + 5 : position + 9])
            return "jpeg", height, width
        else:
            position += 2 + int(struct.unpack(">H", data[position + 2 : position + 4])[0])
    return None, 0, 0


def _decode_pillow(data: bytes, n_channels: int) -> Tensor:
    """Any other image, not yet upright if orientation_in can tell how it is turned."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as opened, _turn(opened.height, opened.width):
            image: Image.Image = opened
            image.load()
            if image.mode == "F":
                raise BrokenImage("floating point pixels have no fixed scale; save it with 8 or 16 bits")
            if image.mode.startswith("I"):
                pixels = _checked(torch.from_numpy(np.array(image).astype(np.int32)))[None]
            elif n_channels in (2, 4) or image.has_transparency_data:
                mode = "LA" if n_channels == 1 else "RGBA"
                pixels = torch.from_numpy(np.array(image.convert(mode))).permute(2, 0, 1)
            elif n_channels == 1:
                grey = (image if image.mode in _GREY_MODES else image.convert("RGB")).convert("L")
                pixels = torch.from_numpy(np.array(grey))[None]
            else:
                pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
            return upright(pixels, _orientation_of(opened)) if opened.format == "AVIF" else pixels
    except (BrokenImage, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise BrokenImage(f"its {_TOO_LARGE}") from error
    except UnidentifiedImageError as error:
        raise BrokenImage("not an image, or of an unknown format") from error
    except Exception as error:  # decoders raise whatever they like on damaged data; all of it means "broken"
        raise BrokenImage(f"{type(error).__name__}: {error}") from error


def _orientation_of(opened: Image.Image) -> int:
    """Of an AVIF, whose own word Pillow puts into the EXIF block."""
    exif, xmp = opened.info.get("exif"), opened.info.get("xmp")
    return orientation(exif if isinstance(exif, bytes) else b"", xmp if isinstance(xmp, bytes) else b"")


def _checked(values: Tensor) -> Tensor:
    """int32 in 0..65535."""
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest > WHITE:
        raise BrokenImage(f"pixel values {lowest}..{highest} do not fit 16 bits; save it with 8 or 16 bits")
    return values
