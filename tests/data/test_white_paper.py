"""With 1 or 3 channels a transparent picture is what one sees on white paper, in every format."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from reference.pictures import encoded, picture
from support.damaged import SIGNATURE, chunk

from deepcluster.data.decode import channels_of, decode, highest_16_bit_value, to_channels
from deepcluster.data.sources.items import image_of


def as_tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.atleast_3d(np.array(image))).permute(2, 0, 1)


def see_through(mode: str = "RGBA") -> Image.Image:
    """A picture of every opacity, with colours where nothing is seen."""
    image = picture(7, 16, 16).convert(mode)
    image.putalpha(Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)))
    return image


def palette_of(alphas: bytes | int) -> bytes:
    return encoded(picture(3, 16, 16).convert("P"), "PNG", transparency=alphas)


def premultiplied(image: Image.Image) -> bytes:
    """A TIFF whose colours are stored times alpha, as its tag ExtraSamples says."""
    pixels = np.array(image).astype(int)
    pixels[..., :3] = (pixels[..., :3] * pixels[..., 3:] + 127) // 255
    data = encoded(Image.fromarray(pixels.astype(np.uint8)), "TIFF")
    tag = struct.pack("<HHI", 338, 3, 1)
    assert data.count(tag + b"\2\0") == 1
    return data.replace(tag + b"\2\0", tag + b"\1\0")


def bmp(image: Image.Image) -> bytes:
    """A BMP whose header names the bits of alpha, which Pillow's own does not."""
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, *image.size, 1, 32, 3, 0, 0, 0, 0, 0) + masks + bytes(52)
    pixels = np.array(image)[::-1, :, [2, 1, 0, 3]].tobytes()
    return b"BM" + struct.pack("<IHHI", 14 + len(header) + len(pixels), 0, 0, 14 + len(header)) + header + pixels


def png(pixels: np.ndarray, colour_type: int, bits: int, extra: bytes = b"") -> bytes:
    """Values (H, W, samples) as a PNG; below 8 bits each is a byte's upper bits, one pixel wide."""
    height, width = pixels.shape[:2]
    if bits < 8:
        assert width == 1
        rows = (pixels << (8 - bits)).astype(np.uint8)
    else:
        rows = pixels.astype(f">u{bits // 8}")
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return SIGNATURE + chunk(b"IHDR", header) + extra + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def key(*values: int) -> bytes:
    return chunk(b"tRNS", struct.pack(f">{len(values)}H", *values))


FILES = {
    "PNG RGBA": encoded(see_through(), "PNG"),
    "PNG LA": encoded(see_through("LA"), "PNG"),
    "PNG P, alphas": palette_of(bytes(range(256))),
    "PNG P, one colour": palette_of(0),
    "PNG RGB, one colour": encoded(picture(3, 16, 16), "PNG", transparency=picture(3, 16, 16).getpixel((5, 5))),
    "PNG L, one grey": encoded(picture(3).convert("L"), "PNG", transparency=picture(3).convert("L").getpixel((5, 5))),
    "WebP, lossless": encoded(see_through(), "WEBP", lossless=True, exact=True),
    "WebP, lossy": encoded(see_through(), "WEBP"),
    "WebP, with metadata": encoded(see_through(), "WEBP", lossless=True, exact=True, xmp=b"<x/>"),
    "GIF": encoded(picture(3).convert("P"), "GIF", transparency=picture(3).convert("P").getpixel((5, 5))),
    "AVIF": encoded(see_through(), "AVIF"),
    "TIFF RGBA": encoded(see_through(), "TIFF"),
    "TIFF LA": encoded(see_through("LA"), "TIFF"),
    "TIFF PA": encoded(see_through().convert("PA"), "TIFF"),
    "TIFF, premultiplied": premultiplied(see_through()),
    "BMP": bmp(see_through()),
    "ICO": encoded(see_through(), "ICO", sizes=[(16, 16)], bitmap_format="bmp"),
    "QOI": encoded(see_through(), "QOI"),
    "JPEG 2000": encoded(see_through(), "JPEG2000"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_transparent_picture_is_pillows_on_white(name):
    data = FILES[name]
    with Image.open(io.BytesIO(data)) as opened:
        stored = opened.convert("RGBA")
    pixels = np.array(stored).astype(float)
    colours, alpha = pixels[..., :3], pixels[..., 3:]
    assert alpha.min() < 5, "else this tests nothing"
    expected = as_tensor(Image.fromarray(np.round((colours * alpha + 255 * (255 - alpha)) / 255).astype(np.uint8)))
    assert torch.equal(decode(data, 3), expected)
    white = Image.alpha_composite(Image.new("RGBA", stored.size, "white"), stored).convert("RGB")
    assert (decode(data, 3).int() - as_tensor(white).int()).abs().max() <= 1
    assert (decode(data, 1).int() - as_tensor(white.convert("L")).int()).abs().max() <= 2  # two roundings in each
    assert torch.equal(decode(data, 4), as_tensor(stored))


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("QOI", {}), ("JPEG2000", {})],
)
def test_an_alpha_that_is_opaque_everywhere_changes_nothing(kind, options):
    opaque = picture(7, 16, 16)
    with_alpha = opaque.copy()
    with_alpha.putalpha(255)
    with Image.open(io.BytesIO(data := encoded(with_alpha, kind, **options))) as opened:
        assert opened.mode == "RGBA" or kind == "WEBP", "else this tests nothing"  # which leaves such an alpha out
    assert torch.equal(decode(data, 3), as_tensor(opaque))
    assert torch.equal(decode(data, 1), decode(encoded(opaque, kind, **options), 1))


def test_a_value_and_its_opacity_are_mixed_with_white_and_rounded():
    values = {(0, 0): 255, (0, 128): 127, (10, 128): 132, (200, 1): 255, (3, 100): 156, (7, 255): 7, (255, 9): 255}
    pairs = torch.tensor(list(values), dtype=torch.uint8)  # 10 of 128: (1,280 + 255 * 127) / 255 = 132.02
    assert to_channels(pairs.T.reshape(2, 1, -1), 1).flatten().tolist() == list(values.values())
    value, alpha = (axis.flatten() for axis in torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij"))
    every = torch.stack([value, alpha]).to(torch.uint8).view(2, 256, 256)
    expected = ((value * alpha + 255 * (255 - alpha)).double() / 255).round().view(256, 256)
    assert torch.equal(to_channels(every, 1)[0].double(), expected)
    assert torch.equal(to_channels(every[None].expand(2, -1, -1, -1), 3)[1, 2].double(), expected)


def test_16_bits_are_brought_to_8_and_then_laid_on_white():
    colours = np.array([[[0, 257 * 10, 65535, 32768], [0, 257 * 10, 65535, 65535], [5, 6, 7, 0]]])
    data = png(colours, 6, 16)  # 32,768 / 257 = 127.5, as the greater 128
    assert decode(data, 3).flatten(1).T.tolist() == [[127, 132, 255], [0, 10, 255], [255, 255, 255]]
    assert decode(png(colours[..., [0, 3]], 4, 16), 1).flatten().tolist() == [127, 0, 255]
    assert decode(png(colours[..., [0, 3]], 4, 16), 3)[2].flatten().tolist() == [127, 0, 255]


def test_the_alpha_of_16_bits_does_not_hide_that_12_are_used():
    pixels = np.array([[[4095, 4000, 7, 65535]]])
    assert highest_16_bit_value(png(pixels, 6, 16), 3) == 4095
    assert decode(png(pixels, 6, 16), 3, 4095).flatten().tolist() == [255, 249, 0]
    array = io.BytesIO()
    np.save(array, pixels.astype(np.uint16))
    assert highest_16_bit_value(array.getvalue(), 4) == 65535, "a channel of an array is no alpha"


@pytest.mark.parametrize(("bits", "highest"), [(1, 1), (2, 3), (4, 15), (8, 255), (16, 65535)])
def test_a_transparent_grey_is_compared_as_it_is_stored(bits, highest):
    values = np.array([0, 1, highest - 1, highest])[:, None, None]
    data = png(values, 0, bits, key(1))
    shown = [255 if value == 1 else round(value * 255 / highest) for value in values.flatten().tolist()]
    for n_channels in (1, 3):
        assert decode(data, n_channels)[-1].flatten().tolist() == shown
    for n_channels in (2, 4):
        assert decode(data, n_channels)[-1].flatten().tolist() == [255 * (value != 1) for value in values.flatten()]


def test_a_transparent_colour_of_16_bits_is_compared_with_all_of_them():
    near = np.array([[[300, 2, 3], [301, 2, 3], [300, 2, 4]]])  # all [1, 0, 0] in 8 bits
    data = png(near, 2, 16, key(300, 2, 3))
    assert decode(data, 3).flatten(1).T.tolist() == [[255, 255, 255], [1, 0, 0], [1, 0, 0]]
    assert decode(data, 1).flatten().tolist() == [255, 0, 0]
    assert decode(data, 4)[3].flatten().tolist() == [0, 255, 255]


@pytest.mark.parametrize("content", [b"", b"\0", b"\0\1\0", b"\0\1\0\2\0\3\0\4"])
def test_a_transparent_colour_of_the_wrong_length_is_none(content):
    pixels = np.array([[[0], [1]]])
    data = png(pixels, 0, 8, chunk(b"tRNS", content))
    assert decode(data, 3)[0].tolist() == [[0, 1]] and decode(data, 2)[1].tolist() == [[255, 255]]


def test_a_drawing_in_black_on_nothing_is_grey_and_no_black_square():
    drawing = np.zeros((8, 8, 4), np.uint8)
    drawing[2:5, 3] = 0, 0, 0, 255
    drawing[7, 7] = 200, 0, 0, 0  # a colour that nobody sees
    data = encoded(Image.fromarray(drawing), "PNG")
    assert channels_of(data) == 1
    assert int((decode(data, 1) == 0).sum()) == 3 and int((decode(data, 1) == 255).sum()) == 61


@pytest.mark.parametrize("mode", ["LA", "La", "RGBA", "RGBa", "P", "PA"])
def test_pictures_of_tables_keep_their_alpha_for_the_paper(mode):
    image = see_through("LA" if mode in ("LA", "La") else "RGBA")
    if mode == "P":
        image = image.convert("RGB").convert("P")
        image.info["transparency"] = bytes(range(256))
    else:
        image = image.convert(mode)
    straight = image.convert("LA") if mode == "La" else image
    pixels = image_of(image, None)
    assert isinstance(pixels, torch.Tensor)
    assert torch.equal(pixels, as_tensor(straight.convert("LA" if mode in ("LA", "La") else "RGBA")))
    assert torch.equal(to_channels(pixels, 3), decode(encoded(straight.convert("RGBA"), "PNG"), 3))


def test_no_warning_of_a_decoder_reaches_the_screen(tmp_path: Path):
    """Of palettes with alphas, of damaged metadata or profiles; in a process of its own, where pytest catches none."""
    palette, tiff = palette_of(bytes(range(256))), bytearray(encoded(picture(3), "TIFF", description="a" * 50))
    place = tiff.index(struct.pack("<HH", 270, 2))
    tiff[place + 4 : place + 8] = struct.pack("<I", 1_000_000)  # a text longer than the file
    gif = encoded(picture(3).convert("P"), "GIF", transparency=1)
    # libpng, which warns by itself, needs the profile where colours become grey
    profile = chunk(b"iCCP", b"name\0\0" + zlib.compress(b"no profile"))
    coloured = FILES["PNG RGBA"][:33] + profile + FILES["PNG RGBA"][33:]
    for name, data in {"a.png": palette, "b.tif": bytes(tiff), "c.gif": gif, "d.png": coloured}.items():
        (tmp_path / name).write_bytes(data)
    code = (
        "import sys; from deepcluster.data.decode import decode_file\n"
        "for path in sys.argv[1:]:\n"
        "    for n in (1, 2, 3, 4)[path.endswith('d.png') :]: print(len(decode_file(path, n)))"
    )
    source = str(Path(__file__).parents[2] / "src")
    run = subprocess.run(
        [sys.executable, "-W", "always::UserWarning", "-c", code, *sorted(map(str, tmp_path.iterdir()))],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.stdout.split() == list("1234" * 3 + "234"), run.stderr
    assert run.stderr == ""
