"""Where each format keeps its EXIF block and XMP packet. Used by orientation.py and decode.py.

Nothing here raises: what is damaged is not there.
"""

import struct
import zlib
from collections.abc import Iterator

from deepcluster.data.png import SIGNATURE, chunks

ORIENTATION = 0x0112  # a tag of TIFF, and so of EXIF
_XMP = 700
_INNER = (0x8769, 0x8825, 0xA005)  # EXIF's directories inside a TIFF
_NUMBERS = {1: "B", 3: "H", 4: "I"}  # types of a tag
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_XMP_IN_JPEG = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_IN_GIF = b"\x0bXMP DataXMP"
_MOST_XMP = 1 << 20  # bytes that compressed metadata may have


def metadata_of(data: bytes) -> tuple[bytes, bytes]:
    """The EXIF block and the XMP packet of an encoded JPEG, PNG, WebP, GIF or TIFF; empty: it has none."""
    if data[:2] == b"\xff\xd8":
        return _of_jpeg(data)
    if data[:8] == SIGNATURE:
        return _of_png(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _of_webp(data)
    if data[:4] == b"GIF8":
        start = data.find(_XMP_IN_GIF)
        return b"", b"" if start < 0 else data[start : data.find(b"\1\xff\xfe", start)]  # then come 256 known bytes
    if data[:4] in _ORDERS:
        at, length = next(((at, length) for tag, _, length, at in _tags(data) if tag == _XMP), (0, 0))
        start = int(struct.unpack_from(_ORDERS[data[:4]] + "I", data, at + 8)[0]) if length > 4 else 0
        return data, data[start : start + length] if start else b""
    return b"", b""


def number_in_tiff(tiff: bytes, tag: int) -> int:
    """The number under a tag in the first directory; 0 if there is none."""
    for other, kind, count, at in _tags(tiff):
        if other == tag:
            is_number = count == 1 and kind in _NUMBERS
            return int(struct.unpack_from(_ORDERS[tiff[:4]] + _NUMBERS[kind], tiff, at + 8)[0]) if is_number else 0
    return 0


def tiff_without_metadata(data: bytes) -> bytes:
    """The same TIFF, none of whose metadata Pillow reads: it turns the image by a rule of its own, or fails at them."""
    dropped = [at for tag, _, _, at in _tags(data) if tag in (ORIENTATION, _XMP, *_INNER)]
    if not dropped:
        return data
    order, entries = _ORDERS[data[:4]], list(_tags(data))
    start, end = entries[0][3], entries[-1][3] + 12
    kept = b"".join(data[at : at + 12] for _, _, _, at in entries if at not in dropped)
    directory = struct.pack(order + "H", len(entries) - len(dropped)) + kept + data[end : end + 4]
    changed = bytearray(data)
    changed[start - 2 : start - 2 + len(directory)] = directory
    return bytes(changed)


def _tags(tiff: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Tag, type, count and place of the entries of the first directory, as far as they are there."""
    order = _ORDERS.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    if start + 2 > len(tiff):
        return
    (n_entries,) = struct.unpack_from(order + "H", tiff, start)
    for at in range(start + 2, min(start + 2 + 12 * n_entries, len(tiff) - 11), 12):
        yield *struct.unpack_from(order + "HHI", tiff, at), at


def _of_jpeg(data: bytes) -> tuple[bytes, bytes]:
    exif, xmp, at = b"", b"", 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        if marker in (0xDA, 0xD9):  # the pixels begin, or all ends
            break
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xE1:
            content = data[at + 4 : end]
            if not exif and content.startswith(b"Exif\0\0"):
                exif = content
            elif not xmp and content.startswith(_XMP_IN_JPEG):
                xmp = content
        at = end
    return exif, xmp


def _of_png(data: bytes) -> tuple[bytes, bytes]:
    exif, xmp = b"", b""
    for part in chunks(data):
        if part.kind not in (b"eXIf", b"iTXt", b"tEXt", b"zTXt") or not part.is_sound:
            continue
        if part.kind == b"eXIf":
            exif = exif or bytes(part.content)
            continue
        name, _, text = bytes(part.content).partition(b"\0")
        if part.kind == b"iTXt" and name == b"XML:com.adobe.xmp":
            packet = text[2:].split(b"\0", 2)[-1]  # after the language and the translated name
            xmp = xmp or (_inflated(packet) if text[:1] == b"\1" else packet)
        elif part.kind != b"iTXt" and name == b"Raw profile type exif":  # ImageMagick's
            exif = exif or _from_hexadecimal(_inflated(text[1:]) if part.kind == b"zTXt" else text)
    return exif, xmp


def _of_webp(data: bytes) -> tuple[bytes, bytes]:
    exif, xmp, at = b"", b"", 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind == b"EXIF":
            exif = exif or data[at + 8 : at + 8 + length]
        elif kind == b"XMP ":
            xmp = xmp or data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
    return exif, xmp


def _inflated(text: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(text, _MOST_XMP)
    except zlib.error:
        return b""


def _from_hexadecimal(profile: bytes) -> bytes:
    """A line "exif", one with the length, then the block in hexadecimal digits."""
    try:
        return bytes.fromhex(b"".join(profile.split()[2:]).decode("ascii"))
    except ValueError:
        return b""
