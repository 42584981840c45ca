"""Which way up: one rule for every format, by EXIF and by XMP."""

import struct

import pytest
import torch
from PIL import Image
from reference.pictures import encoded, picture
from support.damaged import chunk

from deepcluster.data.decode import decode
from deepcluster.data.shrunk import decode_shrunk

LOSSLESS = ["png", "png palette", "webp", "tiff", "tiff lzw", "gif"]
FORMATS = [*LOSSLESS, "jpeg", "avif"]
SHOWN = picture(4, 8, 24).quantize(64)  # as it is to be seen
# What brings each orientation upright, in Pillow's words; here backwards, from upright to stored.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def exif_of(value: int, order: str = "<", kind: int = 3) -> bytes:
    head = b"II*\0" if order == "<" else b"MM\0*"
    number = struct.pack(order + {3: "H2x", 4: "I"}[kind], value)
    return head + struct.pack(order + "IHHHI", 8, 1, 0x0112, kind, 1) + number + bytes(4)


def xmp_of(value: object) -> bytes:
    return f'<x:xmpmeta><rdf:Description tiff:Orientation="{value}"/></x:xmpmeta>'.encode()


def stored(image: Image.Image, kind: str, exif: bytes = b"", xmp: bytes = b"") -> bytes:
    """A file of this picture with these metadata, sound or not."""
    name, _, more = kind.partition(" ")
    if name == "png":
        data = encoded(image if more else image.convert("RGB"), "PNG")
        parts = chunk(b"eXIf", exif) if exif else b""
        parts += chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp) if xmp else b""
        return data[:33] + parts + data[33:]
    if name == "gif":
        data = encoded(image, "GIF")
        start = 13 + 3 * 2 ** (1 + (data[10] & 7))
        trailer = b"\1" + bytes(range(255, -1, -1)) + b"\0"
        return data[:start] + (b"!\xff\x0bXMP DataXMP" + xmp + trailer if xmp else b"") + data[start:]
    image = image.convert("RGB")
    if name == "tiff":
        directory: dict[int, object] = ({0x0112: 1} if exif else {}) | ({700: xmp} if xmp else {})
        data = encoded(image, "TIFF", tiffinfo=directory, **({"compression": "tiff_lzw"} if more else {}))
        entry = struct.pack("<HHI", 0x0112, 3, 1)
        return data.replace(entry + b"\1\0", entry + exif[18:20]) if exif else data
    options: dict[str, object] = {
        "webp": {"lossless": True},
        "jpeg": {"quality": 98, "subsampling": 0},
        "avif": {"quality": 98, "subsampling": "4:4:4"},
    }[name]
    if name == "jpeg" and exif:
        options["exif"] = b"Exif\0\0" + exif
    elif exif:
        options["exif"] = exif
    return encoded(image, name, **options, **({"xmp": xmp} if xmp else {}))


def turned(orientation: int) -> Image.Image:
    way = STORED[orientation]
    return SHOWN if way is None else SHOWN.transpose(way)


def shown(kind: str) -> torch.Tensor:
    return decode(stored(SHOWN, kind), 3).int()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("orientation", STORED)
def test_a_picture_comes_out_upright_from_every_format_by_exif_and_by_xmp(kind, orientation):
    ways = [{"exif": exif_of(orientation)}, {"xmp": xmp_of(orientation)}]
    if kind == "gif":
        ways = ways[1:]  # it has no EXIF
    if kind == "avif":
        ways = ways[:1]  # it says it in its own header, and Pillow writes EXIF's word there
    for metadata in ways:
        image = decode(stored(turned(orientation), kind, **metadata), 3).int()
        difference = (image - shown(kind)).abs()
        assert image.shape == (3, 8, 24)
        assert difference.float().mean() < 3 if kind in ("jpeg", "avif") else difference.max() == 0


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind not in ("gif", "avif")])
@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_has_the_word_before_xmp_in_either_order_of_bytes(kind, order):
    for width in (3, 4):
        if kind[:4] == "tiff" and (order, width) != ("<", 3):
            continue  # its own numbers
        data = stored(turned(6), kind, exif=exif_of(6, order, width), xmp=xmp_of(3))
        assert decode(data, 3).shape == (3, 8, 24)


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_or_absurd_metadata_turn_and_refuse_nothing(kind):
    damaged = [b"garbage that is no TIFF header", b"II*\0\xff\xff\xff\xff", exif_of(6)[:12], exif_of(0), exif_of(9)]
    for exif in damaged if kind not in ("tiff", "tiff lzw", "avif", "gif") else damaged[3:] * (kind[0] == "t"):
        assert torch.equal(decode(stored(SHOWN, kind, exif=exif), 3).int(), shown(kind))
        assert decode(stored(turned(8), kind, exif=exif, xmp=xmp_of(8)), 3).shape == (3, 8, 24)
    for value in (0, 9, 66, -6, "six"):
        if kind != "avif":
            assert torch.equal(decode(stored(SHOWN, kind, xmp=xmp_of(value)), 3).int(), shown(kind))


@pytest.mark.parametrize("metadata", [{"exif": exif_of(6)}, {"xmp": xmp_of(6)}, {"exif": b"Exif\0\0garbage"}])
def test_a_jpeg_that_is_decoded_smaller_is_as_upright_as_a_whole_one(metadata):
    image = picture(2, 64, 32)
    data = stored(image, "jpeg", **metadata)
    full, half = decode(data, 3), decode_shrunk(data, 3, "a", lambda height, width: 2.0)
    assert half.by == 2 and (half.height, half.width) == full.shape[1:]
    means = torch.nn.functional.avg_pool2d(full.float(), 2)
    assert (half.pixels.float() - means).abs().mean() < 3


def test_a_tiff_whose_inner_exif_is_damaged_is_read():
    data = bytearray(encoded(SHOWN.convert("RGB"), "TIFF", tiffinfo={0x8769: {0x9000: b"0230"}}))
    at = data.index(struct.pack("<HHI", 0x8769, 4, 1))
    for value in (0xFFFFFFFF, len(data) - 1, 3):
        data[at + 8 : at + 12] = struct.pack("<I", value)
        assert torch.equal(decode(bytes(data), 3), shown("tiff").byte())
