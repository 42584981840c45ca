import io
import os
import signal
import struct
import threading
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from reference.pictures import encoded, picture
from torchvision.io import decode_png
from torchvision.transforms.v2 import functional as TF

from deepcluster.data import decode as decoding
from deepcluster.data.crops import square
from deepcluster.data.decode import (
    BrokenImage,
    channels_of,
    decode,
    decode_file,
    highest_16_bit_value,
    pixels_of_file,
    to_channels,
)


def stored(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


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
def test_other_pixel_types_that_are_opaque_are_pillows_conversion(mode, n_channels):
    kind = "TIFF" if mode == "PA" else "PNG"
    image = picture(1).convert("P").convert(mode) if mode == "PA" else picture(1).convert(mode)
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


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "npy"])
def test_with_max_value_pictures_of_12_bits_keep_256_levels_and_brighter_ones_are_white(kind):
    values = np.linspace(0, 4095, 1200).astype(np.uint16).reshape(30, 40)
    data = stored(values) if kind == "npy" else encoded(Image.fromarray(values), kind)
    expected = torch.from_numpy(np.floor(values / 4095 * 255 + 0.5).astype(np.int32))
    assert (decode(data, 1, 4095).int() == expected).all() and len(expected.unique()) == 256
    assert (decode(data, 1, 255)[0] == torch.from_numpy(values.clip(max=255).astype(np.uint8))).all()
    assert highest_16_bit_value(data, 1) == 4095
    assert len(decode(data, 1).unique()) == 17


def test_max_value_leaves_pictures_of_8_bits_alone():
    for kind in ("PNG", "TIFF", "JPEG"):
        data = encoded(picture(1), kind)
        assert torch.equal(decode(data, 3, 4095), decode(data, 3)) and highest_16_bit_value(data, 3) is None


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
    with pytest.raises(BrokenImage, match=r"pixels are more than 178,956,970; make it smaller, or cut it into tiles"):
        decode(bytes(data), 3)


def test_of_huge_images_threads_decode_one_at_a_time(monkeypatch):
    data, at_work, most = encoded(picture(6, 20, 20), "PNG"), [0], [0]

    def slowly(raw, mode):
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        time.sleep(0.05)
        at_work[0] -= 1
        return decode_png(raw, mode=mode)

    def most_at_once() -> int:
        most[0] = 0
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda _: decode(data, 3), range(8)))
        return most[0]

    monkeypatch.setattr(decoding, "decode_png", slowly)
    assert most_at_once() > 1
    monkeypatch.setattr(decoding, "_HUGE", 399)
    assert most_at_once() == 1
    palette = encoded(picture(6, 20, 20).convert("P"), "PNG")
    assert decode(palette, 3).shape == (3, 20, 20)  # the way through Pillow waits for no turn of its own


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_forked_worker_waits_for_no_thread_of_its_parent(monkeypatch):
    monkeypatch.setattr(decoding, "_HUGE", 399)
    data, held, release = encoded(picture(6, 20, 20), "BMP"), threading.Event(), threading.Event()

    def hold() -> None:
        with decoding._turn(20, 20):
            held.set()
            release.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that threads and forks do not mix
        child = os.fork()
    if child == 0:
        signal.alarm(5)
        os._exit(decode(data, 3).shape != (3, 20, 20))
    _, status = os.waitpid(child, 0)
    release.set()
    holder.join()
    assert status == 0, f"ended by signal {status}"


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


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG"])
@pytest.mark.parametrize("mode", ["L", "RGB", "LA", "RGBA"])
def test_two_and_four_channels_are_grey_or_colours_with_alpha_which_is_opaque_where_there_is_none(kind, mode):
    image = picture(7).convert(mode)
    with_alpha = mode.endswith("A") and kind != "JPEG"
    alpha = np.arange(120, dtype=np.uint8).reshape(12, 10) if with_alpha else np.full((12, 10), 255, np.uint8)
    if with_alpha:
        image.putalpha(Image.fromarray(alpha))
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    data = encoded(image.convert(mode.rstrip("A")) if kind == "JPEG" else image, kind, **options)
    for n_channels, n_shown in ((2, 1), (4, 3)):
        decoded = decode(data, n_channels)
        assert torch.equal(decoded[-1], torch.from_numpy(alpha))
        assert (to_channels(decoded, n_shown).int() - decode(data, n_shown).int()).abs().max() <= 1
    assert channels_of(data) == (1 if mode.startswith("L") else 3)  # alpha is only given if it is asked for


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_a_colour_that_is_transparent_has_alpha_0(mode):
    image = Image.new("RGB", (3, 1), (200, 100, 0))
    image.putpixel((1, 0), (9, 8, 7))
    image = image.convert(mode)
    data = encoded(image, "PNG", transparency=image.getpixel((1, 0)))
    assert decode(data, 4)[3].tolist() == [[255, 0, 255]]


def test_the_four_kinds_of_pixel_become_each_other():
    pixels = {1: [76], 2: [76, 40], 3: [255, 0, 0], 4: [255, 0, 0, 40]}  # red: 0.299 * 255 = 76.2
    becomes = {
        1: {2: [76, 255], 3: [76, 76, 76], 4: [76, 76, 76, 255]},
        2: {1: [227], 3: [227, 227, 227], 4: [76, 76, 76, 40]},  # (76 * 40 + 255 * 215) / 255 = 226.9
        3: {1: [76], 2: [76, 255], 4: [255, 0, 0, 255]},
        4: {1: [227], 2: [76, 40], 3: [255, 215, 215]},
    }
    for n, values in pixels.items():
        images = torch.tensor(values, dtype=torch.uint8).view(1, n, 1, 1).expand(2, n, 1, 2)
        for n_channels, expected in becomes[n].items():
            made = to_channels(images, n_channels)
            assert made.shape == (2, n_channels, 1, 2) and made[1, :, 0, 1].tolist() == expected


def test_an_array_is_its_own_pixels_plane_by_plane():
    array = np.arange(2 * 3 * 5, dtype=np.uint8).reshape(2, 3, 5)  # pixel (y, x): 5 (3 y + x) + channel
    data = stored(array)
    image = decode(data, 5)
    assert image.dtype == torch.uint8 and image.shape == (5, 2, 3)
    assert image[4].tolist() == [[4, 9, 14], [19, 24, 29]]
    assert torch.equal(decode(stored(np.asfortranarray(array)), 5), image)
    assert decode(stored(array[..., 1]), 1).tolist() == [[[1, 6, 11], [16, 21, 26]]]
    assert channels_of(data) == 5 and channels_of(stored(array[..., 1])) == 1


@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_a_16_bit_array_is_divided_by_257(order):
    array = np.array([[[0, 128, 129, 257, 65535]]], order)  # 128 / 257 = 0.498, 129 / 257 = 0.502
    assert decode(stored(array), 5).flatten().tolist() == [0, 0, 1, 1, 255]


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((4, 4, 5), np.float32), r"holds float32, .* uint8 or uint16; convert it"),
        (np.zeros((4, 4, 5), bool), r"holds bool"),
        (np.zeros((4, 4, 5), np.uint32), r"holds uint32"),
        (np.array([{}]), r"holds object"),
        (np.zeros(7, np.uint8), r"shape \(7,\), .* \(H, W\) or \(H, W, C\)"),
        (np.zeros((2, 4, 4, 5), np.uint8), r"shape \(2, 4, 4, 5\)"),
        (np.zeros((0, 4, 5), np.uint8), r"shape \(0, 4, 5\)"),
        (np.zeros((4, 4, 6), np.uint8), r"has 6 channels, the set 5"),
        (np.zeros((4, 4), np.uint8), r"has 1 channel, the set 5"),
        (np.zeros((5, 9, 80), np.uint8), r"gives 80 channels.*transpose\(1, 2, 0\).*data.n_channels=80"),
        (np.zeros((5, 16, 16), np.uint8), r"gives 16 channels.*transpose\(1, 2, 0\)"),
    ],
)
def test_other_arrays_are_refused_with_the_reason(array, reason):
    with pytest.raises(BrokenImage, match=reason):
        decode(stored(array), 5)


def test_an_array_that_looks_like_planes_is_read_if_its_channels_are_asked_for():
    array = np.random.default_rng(0).integers(0, 256, (6, 6, 80), dtype=np.uint8)
    with pytest.raises(BrokenImage, match=r"data\.n_channels=80"):
        channels_of(stored(array))
    assert (decode(stored(array), 80).numpy() == array.transpose(2, 0, 1)).all()


def test_a_damaged_array_is_an_error():
    data = stored(np.zeros((4, 4, 5), np.uint8))
    for share in (0.05, 0.3, 0.9):
        with pytest.raises(BrokenImage, match="damaged"):
            decode(data[: int(len(data) * share)], 5)
    huge = data.replace(b"(4, 4, 5)", b"(99999, 99999, 5)").replace(b" " * 8 + b"\n", b"\n")
    with pytest.raises(BrokenImage, match="header promises 49,999,000,005"):
        decode(huge, 5)


def test_an_image_file_has_no_fifth_channel():
    with pytest.raises(BrokenImage, match=r"1 to 4 channels, the set has 5.*\.npy"):
        decode(encoded(picture(0), "PNG"), 5)


@pytest.mark.parametrize("n", [2, 4, 5, 20])
def test_the_channels_of_an_array_are_resampled_one_by_one(n):
    array = np.random.default_rng(n).integers(0, 256, (50, 40, n), dtype=np.uint8)
    image = decode(stored(array), n)
    crop = TF.resized_crop(image, 5, 7, 30, 20, [16, 16], antialias=True)
    for channel in range(n):
        alone = torch.from_numpy(array[..., channel].copy())[None]
        assert torch.equal(crop[channel], TF.resized_crop(alone, 5, 7, 30, 20, [16, 16], antialias=True)[0])
        assert torch.equal(square(image, 20, 16)[channel], square(alone, 20, 16)[0])


def test_the_pixels_of_a_file_are_told_by_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (30, 20)).save(tmp_path / "image.png")
    assert pixels_of_file(tmp_path / "image.png") == 600
    (tmp_path / "none.png").write_bytes(b"none")
    with pytest.raises(OSError):
        pixels_of_file(tmp_path / "none.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(BrokenImage, match=r"its pixels are more than 178,956,970; make it smaller"):
        pixels_of_file(tmp_path / "image.png")
