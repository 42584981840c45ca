import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from reference.pictures import encoded, picture
from torchvision.transforms.v2 import functional as TF

from deepcluster.data.crops import square
from deepcluster.data.decode import BrokenImage, decode, decode_file, to_channels


def as_tensor(image: Image.Image) -> torch.Tensor:
    pixels = torch.from_numpy(np.array(image))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "PPM"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("n_channels", [1, 3])
def test_lossless_formats_give_pillows_pixels(kind, mode, n_channels):
    image = picture(0).convert(mode)
    options = {"lossless": True} if kind == "WEBP" else {}
    expected = as_tensor(image.convert("L" if n_channels == 1 else "RGB"))
    difference = decode(encoded(image, kind, **options), n_channels).int() - expected.int()
    assert difference.abs().max() <= (1 if mode == "RGB" and n_channels == 1 else 0)  # grey is rounded


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P", "1", "PA"])
@pytest.mark.parametrize("n_channels", [1, 3])
def test_other_pixel_types_are_pillows_conversion(mode, n_channels):
    kind = "TIFF" if mode == "PA" else "PNG"
    image = picture(1).convert("P").convert(mode) if mode == "PA" else picture(1).convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(np.arange(120, dtype=np.uint8).reshape(12, 10)))
    data = encoded(image, kind)
    with Image.open(io.BytesIO(data)) as opened:
        expected = as_tensor(opened.convert("RGB").convert("L" if n_channels == 1 else "RGB"))
    assert (decode(data, n_channels).int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize("n_channels", [1, 3])
def test_jpeg_agrees_with_pillow(n_channels):
    data = encoded(picture(2, 40, 30), "JPEG", quality=95)
    with Image.open(io.BytesIO(data)) as opened:
        expected = as_tensor(opened.convert("L" if n_channels == 1 else "RGB"))
    assert (decode(data, n_channels).int() - expected.int()).abs().float().mean() < 1


@pytest.mark.parametrize("n_channels", [1, 3])
def test_cmyk_jpeg_is_converted(n_channels):
    original = picture(3, 40, 30)
    image = decode(encoded(original.convert("CMYK"), "JPEG", quality=95), n_channels)
    expected = as_tensor(original.convert("L" if n_channels == 1 else "RGB"))
    assert (image.int() - expected.int()).abs().float().mean() < 4


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("n_channels", [1, 3])
def test_16_bit_grey_is_scaled_and_not_clipped(kind, n_channels):
    values = np.linspace(0, 65535, 120).astype(np.uint16).reshape(12, 10)
    image = decode(encoded(Image.fromarray(values), kind), n_channels)
    expected = torch.from_numpy((values / 257).round().astype(np.int32))
    assert image.shape[0] == n_channels and (image.int() == expected).all()


def test_16_bit_colour_is_scaled_and_not_clipped():
    values = np.random.default_rng(0).integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 7, 5, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    expected = torch.from_numpy((values / 257).round().astype(np.int32)).permute(2, 0, 1)
    assert (decode(data, 3).int() - expected).abs().max() <= 1


def test_float_and_32_bit_pixels_are_refused_with_a_way_out():
    with pytest.raises(BrokenImage, match=r"floating point.*8 or 16 bits"):
        decode(encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), 1)
    with pytest.raises(BrokenImage, match=r"0\.\.100000 do not fit 16 bits"):
        decode(encoded(Image.fromarray(np.array([[0, 100_000]], np.int32)), "TIFF"), 1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_applied(kind):
    image = picture(4, 8, 24)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to see it upright
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 98, "subsampling": 0}}.get(kind, {})
    turned = decode(encoded(image, kind, exif=exif, **options), 3)
    expected = as_tensor(image.rotate(-90, expand=True))
    assert turned.shape == (3, 24, 8)
    assert (turned.int() - expected.int()).abs().float().mean() < 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.97])
def test_truncated_images_are_errors(kind, share):
    data = encoded(picture(5, 100, 120), kind)
    with pytest.raises(BrokenImage):
        decode(data[: int(len(data) * share)], 3)


@pytest.mark.parametrize("data", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8L", b"GIF89a", b"BM"])
def test_a_bare_signature_is_an_error(data):
    with pytest.raises(BrokenImage):
        decode(data, 3)


def test_errors_name_the_file_and_the_reason(tmp_path):
    cases = {"empty.jpg": (b"", "empty"), "text\n.jpg": (b"not a picture", "not an image")}
    for name, (content, reason) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BrokenImage, match=reason) as error:
            decode_file(str(tmp_path / name), 3)
        assert repr(str(tmp_path / name)) in str(error.value)
    with pytest.raises(BrokenImage, match=r"gone\.png.*No such file"):
        decode_file(str(tmp_path / "gone.png"), 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_header_that_claims_a_huge_image_is_refused_before_memory_is_taken(kind):
    data = bytearray(encoded(picture(6, 20, 20), kind))
    if kind == "PNG":
        data[16:24] = struct.pack(">II", 60_000, 60_000)
        data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    elif kind == "JPEG":
        frame = data.index(b"\xff\xc0")
        data[frame + 5 : frame + 9] = struct.pack(">HH", 60_000, 60_000)
    elif kind == "WEBP":
        data[26:30] = struct.pack("<HH", 16_383, 16_383)
    else:
        data[6:10] = struct.pack("<HH", 60_000, 60_000)
    with pytest.raises(BrokenImage, match="pixels"):
        decode(bytes(data), 3)


def test_grey_weighs_the_colours_and_repeats_exactly():
    white_red = torch.tensor([[255, 255], [255, 0], [255, 0]], dtype=torch.uint8).view(3, 1, 2)
    assert to_channels(white_red, 1).flatten().tolist() == [255, 76]
    assert (to_channels(white_red[:1], 3) == 255).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_the_order_of_bytes_in_memory_changes_no_crop(kind):
    image = decode(encoded(picture(8, 150, 200), kind), 3)
    planes = image.contiguous()
    for top, left, height, width in ((0, 0, 150, 200), (11, 20, 90, 70), (40, 60, 20, 30)):
        box = (top, left, height, width)
        seen, expected = (TF.resized_crop(x, *box, [64, 64], antialias=True) for x in (image, planes))
        assert torch.equal(seen, expected)
    assert torch.equal(square(image, 72, 64), square(planes, 72, 64))
