"""A PNG written anew from its checked parts: libpng must meet no error. Used by decode.py.

An error in libpng ends the process inside torchvision (0.29). So chunks are checked and the pixels inflated here, by
Python's own zlib; libpng gets them stored, not compressed, and without metadata, and has only the filters left to do.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, COLOURS, PALETTE, GREY_ALPHA, COLOURS_ALPHA = 0, 2, 3, 4, 6  # colour types
_N_SAMPLES = {GREY: 1, COLOURS: 3, PALETTE: 1, GREY_ALPHA: 2, COLOURS_ALPHA: 4}
_BITS = {GREY: (1, 2, 4, 8, 16), PALETTE: (1, 2, 4, 8)}  # of others: 8, 16
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
# libpng weighs colours into grey by what these say; else they only make it warn on the screen of damaged profiles
_OF_COLOUR = [b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"sBIT"]
_LARGEST_SIDE = 1_000_000  # libpng's own limit
_BLOCK = 65_535  # bytes of a stored block
_MOST_INFLATED = 1032  # times: what deflate can reach
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


class Header(NamedTuple):
    """What a PNG says it is."""

    width: int
    height: int
    bits: int
    colour_type: int
    is_interlaced: bool


class Chunk(NamedTuple):
    """A part of a PNG."""

    kind: bytes
    content: memoryview
    checksum: int

    @property
    def is_sound(self) -> bool:
        return zlib.crc32(self.content, zlib.crc32(self.kind)) == self.checksum

    @property
    def is_critical(self) -> bool:
        return not self.kind[0] & 0x20


def chunks(data: bytes) -> Iterator[Chunk]:
    """The parts up to the end, or to one that is cut."""
    view, at = memoryview(data), len(SIGNATURE)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            return
        yield Chunk(kind, view[at + 8 : end], struct.unpack_from(">I", data, end)[0])
        if kind == b"IEND":
            return
        at = end + 4


def read_header(data: bytes) -> Header:
    """The first chunk.

    Raises:
        ValueError: if it is not what the format allows.
    """
    first = next(chunks(data), None)
    if first is None or first.kind != b"IHDR" or len(first.content) != 13 or not first.is_sound:
        raise ValueError("the header of the PNG is damaged")
    width, height, bits, colour_type, compression, filters, interlaced = struct.unpack(">IIBBBBB", first.content)
    allowed = colour_type in _N_SAMPLES and bits in _BITS.get(colour_type, (8, 16))
    if not allowed or compression or filters or interlaced > 1 or not 0 < width < 1 << 31 or not 0 < height < 1 << 31:
        raise ValueError(f"the header of the PNG says what the format does not know: {first.content.hex()}")
    if max(width, height) > _LARGEST_SIDE:
        raise ValueError(f"a side of {max(width, height):,} pixels; a PNG may have {_LARGEST_SIDE:,}")
    return Header(width, height, bits, colour_type, bool(interlaced))


def read_parts(data: bytes, header: Header, *, to_grey: bool) -> dict[bytes, bytes]:
    """What the pixels need, by type, the pixels in one part: metadata stay behind, so damage there refuses no image.

    A file that ends after its pixels is whole.

    Args:
        to_grey: colours are to become grey.

    Raises:
        ValueError: with the reason, if a part that the pixels need is damaged, or is far too small for them.
    """
    of_colour = _OF_COLOUR if to_grey else []
    needed = {
        GREY: [b"tRNS"],
        COLOURS: [*of_colour, b"tRNS"],
        PALETTE: [b"PLTE", b"tRNS"],
        COLOURS_ALPHA: of_colour,
    }.get(header.colour_type, [])
    kept: dict[bytes, memoryview] = {}
    pixels: list[memoryview] = []
    for part in chunks(data):
        name = part.kind.decode("latin-1")
        if part.is_critical and part.kind not in _CRITICAL:
            raise ValueError(f"the PNG has a part {name!r}, which is not in the standard")
        if part.is_critical and not part.is_sound:
            raise ValueError(f"the part {name!r} of the PNG is damaged (its checksum is wrong)")
        if part.kind == b"IDAT":
            pixels.append(part.content)
        elif part.kind == b"IHDR" or (part.kind in needed and part.is_sound):
            kept.setdefault(part.kind, part.content)
    if header.colour_type == PALETTE and not _is_palette(kept.get(b"PLTE", memoryview(b""))):
        raise ValueError("the palette of the PNG is missing or damaged")
    parts = {name: bytes(kept[name]) for name in (b"IHDR", *needed) if name in kept}
    parts[b"IDAT"] = b"".join(pixels)
    if _n_bytes(header) > _MOST_INFLATED * len(parts[b"IDAT"]) + 64:
        raise ValueError(f"the PNG promises {_size(header)} and holds far fewer; it is cut or damaged")
    return parts


def take_transparent(parts: dict[bytes, bytes], header: Header) -> tuple[int, ...] | None:
    """The one grey, or colour, that means nothing is there, in 8 or 16 bits as it is decoded; its part is taken out.

    Pillow would compare it with other values: of 1 to 4 bits with those not yet made 8, of 16 with those made 8. None:
    there is none, or the image has a palette, whose alphas Pillow knows.
    """
    if header.colour_type == PALETTE or b"tRNS" not in parts:
        return None
    content, highest = parts.pop(b"tRNS"), (1 << header.bits) - 1
    if len(content) != 2 * _N_SAMPLES[header.colour_type]:
        return None
    scale = 255 // highest if header.bits < 8 else 1
    return tuple((value & highest) * scale for value in struct.unpack(f">{len(content) // 2}H", content))


def written_anew(parts: dict[bytes, bytes]) -> bytearray:
    """A PNG of these parts, for Pillow, which survives damage in them."""
    return _joined({name: [content] for name, content in parts.items()})


def written_for_libpng(parts: dict[bytes, bytes], header: Header) -> bytearray:
    """The same, its pixels stored and not compressed: nothing is left that libpng could fail at.

    Raises:
        ValueError: with the reason, if the pixels are damaged.
    """
    rows = memoryview(_inflated(parts[b"IDAT"], header))
    stored: list[bytes | memoryview] = [b"\x78\x01"]
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        is_last = start + _BLOCK >= len(rows)
        stored += [struct.pack("<BHH", is_last, len(block), len(block) ^ 0xFFFF), block]
    stored.append(struct.pack(">I", zlib.adler32(rows)))
    return _joined({**{name: [content] for name, content in parts.items()}, b"IDAT": stored})


def _joined(parts: Mapping[bytes, Sequence[bytes | memoryview]]) -> bytearray:
    pieces: list[bytes | memoryview] = [SIGNATURE]
    for kind, contents in {**parts, b"IEND": []}.items():
        checksum = zlib.crc32(kind)
        for content in contents:
            checksum = zlib.crc32(content, checksum)
        pieces += [struct.pack(">I", sum(map(len, contents))), kind, *contents, struct.pack(">I", checksum)]
    return bytearray().join(pieces)


def _is_palette(content: memoryview) -> bool:
    return 0 < len(content) <= 768 and len(content) % 3 == 0


def _size(header: Header) -> str:
    return f"{header.width} x {header.height} pixels"


def _n_bytes(header: Header) -> int:
    return sum(n_rows * row_bytes for n_rows, row_bytes in _passes(header))


def _inflated(compressed: bytes, header: Header) -> bytes:
    """The filtered rows of the image, as many as the header promises."""
    n_bytes = _n_bytes(header)
    stream = zlib.decompressobj()
    try:
        rows = stream.decompress(compressed, n_bytes)
        stream.decompress(stream.unconsumed_tail, 1)  # the checksum comes after the last row
    except zlib.error as error:
        raise ValueError(f"the pixels of the PNG are damaged: {error}") from error
    if len(rows) < n_bytes:
        raise ValueError(f"the PNG promises {_size(header)} and is cut or damaged: {len(rows):,} of {n_bytes:,} bytes")
    filters, at = np.frombuffer(rows, np.uint8), 0
    for n_rows, row_bytes in _passes(header):
        if (filters[at : at + n_rows * row_bytes : row_bytes] > 4).any():
            raise ValueError("the pixels of the PNG are damaged: a row has an unknown filter")
        at += n_rows * row_bytes
    return rows


def _passes(header: Header) -> Iterator[tuple[int, int]]:
    """Rows, and bytes of a row with its filter in front, of each pass over the image that has pixels."""
    bits = header.bits * _N_SAMPLES[header.colour_type]
    for top, left, down, right in _ADAM7 if header.is_interlaced else ((0, 0, 1, 1),):
        n_rows, n_columns = -(-(header.height - top) // down), -(-(header.width - left) // right)
        if n_rows > 0 and n_columns > 0:
            yield n_rows, 1 + -(-n_columns * bits // 8)
