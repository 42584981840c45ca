"""Damaged files of every format and kind of pixel that is read. Run in a child: a segmentation fault must be seen.

python -m support.damaged N SEED     decodes N of them, prints how many gave a picture and how many were refused
"""

import faulthandler
import io
import random
import struct
import sys
import warnings
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image
from reference.pictures import encoded, picture

from deepcluster.data.decode import BrokenImage
from deepcluster.data.shrunk import as_small_as_can_be, decode_shrunk
from deepcluster.system.machine import peak_memory

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
_N_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(colour_type: int, bits: int, interlaced: int, extra: bytes = b"", height: int = 11, width: int = 13) -> bytes:
    """A PNG of random pixels of any kind that the format knows, its pixels in two parts; every filter is used."""
    draw, rows = np.random.default_rng(bits), b""
    for top, left, down, right in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        n_rows, n_columns = -(-(height - top) // down), -(-(width - left) // right)
        n_bytes = -(-n_columns * bits * _N_SAMPLES[colour_type] // 8)
        for row in range(n_rows if n_bytes else 0):
            rows += bytes([row % 5]) + draw.integers(0, 256, n_bytes, dtype=np.uint8).tobytes()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, interlaced))
    palette = chunk(b"PLTE", bytes(i * 7 % 256 for i in range(3 << bits))) if colour_type == 3 else b""
    pixels = zlib.compress(rows)
    parts = [chunk(b"IDAT", pixels[:40]), chunk(b"IDAT", pixels[40:])]
    return b"".join([SIGNATURE, header, palette, extra, *parts, chunk(b"IEND", b"")])


def sound_pngs() -> dict[str, bytes]:
    bits = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
    kinds = [(kind, n, interlaced) for kind in bits for n in bits[kind] for interlaced in (0, 1)]
    files = {"-".join(map(str, kind)): png(*kind) for kind in kinds}
    transparent = {0: b"\0\1", 2: b"\0\1\0\2\0\3", 3: b"\0\x80"}
    files |= {f"{kind}-8-tRNS": png(kind, 8, 0, chunk(b"tRNS", content)) for kind, content in transparent.items()}
    gamma = chunk(b"gAMA", struct.pack(">I", 100_000))
    return files | {"2-8-gAMA": png(2, 8, 0, gamma), "6-16-gAMA": png(6, 16, 0, gamma)}


def sound_files() -> dict[str, bytes]:
    """Every format, kind of pixel and compression, on small pictures; some with metadata."""
    image, exif = picture(3, 20, 24), Image.Exif()
    exif[0x0112] = 6
    files = {f"png {name}": data for name, data in sound_pngs().items()}
    ways: list[tuple[str, str, dict[str, object]]] = [
        *(("JPEG", mode, options) for mode in ("L", "RGB", "CMYK") for options in ({}, {"progressive": True})),
        ("JPEG", "RGB", {"exif": exif, "xmp": b'<x tiff:Orientation="6"/>'}),
        *(("WEBP", mode, {"lossless": lossless}) for mode in ("RGB", "RGBA") for lossless in (False, True)),
        ("WEBP", "RGB", {"exif": exif}),
        ("WEBP", "RGB", {"save_all": True, "append_images": [picture(4, 20, 24)]}),
        *(("GIF", mode, {}) for mode in ("L", "P")),
        ("GIF", "P", {"save_all": True, "append_images": [picture(4, 20, 24).convert("P")], "transparency": 3}),
        *(("BMP", mode, {}) for mode in ("1", "L", "P", "RGB", "RGBA")),
        *(("TIFF", mode, {"exif": exif}) for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16")),
        *(("TIFF", "RGB", {"compression": f"tiff_{name}"}) for name in ("lzw", "adobe_deflate", "jpeg")),
        *(("TIFF", mode, {"compression": "packbits"}) for mode in ("L", "RGB")),
        ("TIFF", "1", {"compression": "group4"}),
        *(("PPM", mode, {}) for mode in ("1", "L", "RGB", "I;16")),
        *(("AVIF", "RGB", options) for options in ({}, {"exif": exif})),
        *(("JPEG2000", mode, {}) for mode in ("L", "RGB")),
        *((kind, "RGBA", {}) for kind in ("ICO", "QOI")),
    ]
    for kind, mode, options in ways:
        converted = image.convert("I;16" if mode == "I;16" else mode) if mode != "I;16" else _16_bits(image)
        files[f"{kind} {mode} {sorted(options)} {len(files)}"] = encoded(converted, kind, **options)
    for dtype in (np.uint8, np.uint16):
        file = io.BytesIO()
        np.save(file, np.array(image).astype(dtype))
        files[f"npy {dtype.__name__}"] = file.getvalue()
    return files


def _16_bits(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.array(image.convert("L")).astype(np.uint16) * 16)


def flipped(data: bytearray, draw: random.Random) -> bytearray:
    for _ in range(draw.choice((1, 1, 1, 3, 10))):
        data[draw.randrange(len(data))] ^= draw.randrange(1, 256)
    return data


def cut(data: bytearray, draw: random.Random) -> bytearray:
    return data[: draw.randrange(len(data))]


def inserted(data: bytearray, draw: random.Random) -> bytearray:
    at = draw.randrange(len(data))
    return data[:at] + draw.randbytes(draw.choice((1, 4, 30))) + data[at:]


def removed(data: bytearray, draw: random.Random) -> bytearray:
    at = draw.randrange(len(data))
    return data[:at] + data[at + draw.choice((1, 4, 30)) :]


def overwritten_head(data: bytearray, draw: random.Random) -> bytearray:
    """Numbers in the first bytes, where sizes, counts and offsets stand, become others or huge."""
    at = draw.randrange(4, min(64, len(data)))
    value = draw.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\0\1", b"\xff", draw.randbytes(4)))
    data[at : at + len(value)] = value
    return data


def repeated(data: bytearray, draw: random.Random) -> bytearray:
    start, end = sorted((draw.randrange(len(data)), draw.randrange(len(data))))
    return data[:end] + data[start:]


DAMAGES: tuple[Callable[[bytearray, random.Random], bytearray], ...] = (
    flipped,
    cut,
    inserted,
    removed,
    overwritten_head,
    repeated,
)


def with_right_checksums(data: bytes, damage: Callable[[bytearray, random.Random], bytearray], draw: random.Random):
    """A PNG one of whose parts is damaged inside, or whose pixels are before they are compressed."""
    parts, at = [], 8
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        parts.append((kind, data[at + 8 : at + 8 + length]))
        at += 12 + length
    if draw.random() < 0.3:
        rows = zlib.decompress(b"".join(content for kind, content in parts if kind == b"IDAT"))
        parts = [part for part in parts if part[0] not in (b"IDAT", b"IEND")]
        parts += [(b"IDAT", zlib.compress(bytes(damage(bytearray(rows), draw)))), (b"IEND", b"")]
    elif draw.random() < 0.8:
        i = draw.choice([i for i, part in enumerate(parts) if part[1]])
        parts[i] = parts[i][0], bytes(damage(bytearray(parts[i][1]), draw)) if len(parts[i][1]) > 5 else b""
    else:
        draw.shuffle(parts)
    return SIGNATURE + b"".join(chunk(*part) for part in parts)


def damaged_files(n: int, seed: int):
    """n damaged files: (what it was, how it was damaged, the bytes)."""
    files = list(sound_files().items())
    for number in range(n):
        draw = random.Random(f"{seed} {number}")
        name, data = files[number % len(files)]
        damage = draw.choice(DAMAGES)
        if name.startswith("png") and draw.random() < 0.5:
            yield name, damage.__name__ + ", checksums right", with_right_checksums(data, damage, draw)
        else:
            yield name, damage.__name__, bytes(damage(bytearray(data), draw))


def main(n: int, seed: int) -> None:
    faulthandler.enable()
    warnings.simplefilter("ignore")
    pictures = refused = 0
    for number, (name, damage, data) in enumerate(damaged_files(n, seed)):
        print(f"{number} {name}: {damage}", flush=True)  # the last line names the file that ended the process
        n_channels = 1 + number % 4
        try:
            image = decode_shrunk(data, n_channels, name, as_small_as_can_be if number % 3 == 0 else None).pixels
        except BrokenImage:
            refused += 1
            continue
        assert image.shape[0] == n_channels and image.numel() and str(image.dtype) == "torch.uint8", image.shape
        image.sum()
        pictures += 1
    memory = peak_memory() / 1e9  # not ru_maxrss, which begins at that of the process that started this one
    print(f"done: {pictures} pictures, {refused} refused, {memory:.2f} GB")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
