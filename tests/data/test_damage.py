"""A damaged file is a broken image, or a picture: it never ends the process."""

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import torch
from reference.pictures import encoded, picture
from support.damaged import chunk, png, sound_files, sound_pngs
from torchvision.io import ImageReadMode, decode_png

from deepcluster.data.decode import BrokenImage, decode

TESTS = Path(__file__).parents[1]


def test_every_kind_of_file_that_is_to_be_damaged_is_read():
    for data in sound_files().values():
        assert decode(data, 3).shape[0] == 3


@pytest.mark.parametrize("n", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_damaged_files_of_every_kind_are_pictures_or_broken_images(n):
    """In a process of their own, so that a segmentation fault fails this test alone."""
    paths = [str(TESTS), str(TESTS.parent / "src"), os.environ.get("PYTHONPATH", "")]
    run = subprocess.run(
        [sys.executable, "-m", "support.damaged", str(n), "0"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    last = run.stdout.splitlines()[-1:]
    assert run.returncode == 0, f"ended with {run.returncode} at {last}: {run.stderr[-2000:]}"
    assert last[0].startswith("done"), last
    memory = float(last[0].split()[-2])
    assert memory < 2, f"{memory} GB for damaged files that are small"


@pytest.mark.parametrize("n_channels", [1, 2, 3, 4])
def test_a_sound_png_of_any_kind_has_the_pixels_of_torchvision(n_channels):
    mode = {1: ImageReadMode.GRAY, 3: ImageReadMode.RGB}.get(n_channels, ImageReadMode.RGB_ALPHA)
    for name, data in sound_pngs().items():
        kind, bits = map(int, name.split("-")[:2])
        if kind == 3 or bits < 8 or "tRNS" in name or (kind in (4, 6) and n_channels in (1, 3)):
            continue  # Pillow's, or not as it is stored
        image = decode_png(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=mode)
        if image.dtype == torch.uint16:
            image = ((image.int() + 128) // 257).to(torch.uint8)
        assert torch.equal(decode(data, n_channels)[-1], image[-1]), name
        assert n_channels == 2 or torch.equal(decode(data, n_channels), image), name


def test_one_damaged_byte_in_the_pixels_of_a_png_is_named():
    data = bytearray(encoded(picture(3, 40, 40), "PNG"))
    data[len(data) // 2] ^= 255
    with pytest.raises(BrokenImage, match=r"'IDAT' of the PNG is damaged"):
        decode(bytes(data), 3)


@pytest.mark.parametrize("colour_type", [0, 2, 4, 6])
def test_pixels_that_are_damaged_behind_a_right_checksum_are_named(colour_type):
    data = png(colour_type, 8, 0)
    start, end = data.index(b"IDAT") - 4, data.index(b"IEND") - 4
    for rows in (b"\5" * 2000, b"\0"):
        with pytest.raises(BrokenImage, match=r"pixels of the PNG|the PNG promises"):
            decode(data[:start] + chunk(b"IDAT", zlib.compress(rows)) + data[end:], 3)
    with pytest.raises(BrokenImage, match="pixels of the PNG are damaged"):
        decode(data[:start] + chunk(b"IDAT", b"no deflate, for all its length" * 5) + data[end:], 3)


def test_a_png_that_promises_far_more_than_it_holds_takes_no_memory():
    data = bytearray(png(6, 16, 0))
    data[16:24] = struct.pack(">II", 13_000, 13_000)  # 1.35 GB, and fewer pixels than are refused
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(BrokenImage, match="13000 x 13000 pixels and holds far fewer"):
        decode(bytes(data), 3)


def test_damaged_metadata_of_a_png_refuse_no_picture():
    data = encoded(picture(1), "PNG")
    text = bytearray(chunk(b"iCCP", b"nonsense") + chunk(b"zTXt", b"k\0\0no deflate") + chunk(b"tEXt", b"a\0b"))
    text[-1] ^= 255  # a checksum
    for image in (data, encoded(picture(1).convert("P"), "PNG")):
        assert torch.equal(decode(image[:33] + bytes(text) + image[33:], 3), decode(image, 3))
