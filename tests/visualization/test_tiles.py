"""Sheets of tiles: where each tile stands, and how large."""

import io
import time
from collections.abc import Callable

import torch
from PIL import Image

from deepcluster.visualization.tiles import GREY, PAPER, as_picture, fitted, padded, png, sheet


def test_channels_become_grey_colours_or_grey_ones_side_by_side() -> None:
    pixels = torch.arange(6, dtype=torch.uint8).view(3, 1, 2)
    assert as_picture(pixels[:1]).getpixel((1, 0)) == 1
    assert as_picture(pixels).getpixel((1, 0)) == (1, 3, 5)
    side_by_side = as_picture(pixels[:2])
    assert side_by_side.size == (4, 1) and [side_by_side.getpixel((x, 0)) for x in range(4)] == [0, 1, 2, 3]


def test_small_pictures_grow_by_whole_factors_and_large_ones_shrink() -> None:
    assert fitted(Image.new("L", (10, 28)), 64).size == (20, 56)
    assert fitted(Image.new("L", (224, 224)), 64).size == (64, 64)
    picture = fitted(as_picture(torch.tensor([[[0, 255]]], dtype=torch.uint8)), 3)
    assert [picture.getpixel((x, 1)) for x in range(6)] == [0, 0, 0, 255, 255, 255]


def test_what_lies_outside_the_image_is_grey() -> None:
    pixels = torch.arange(12, dtype=torch.uint8).view(1, 3, 4)
    assert padded(pixels, (1, 3), (0, 2))[0].tolist() == [[4, 5], [8, 9]]
    assert padded(pixels, (-1, 1), (3, 5), value=7)[0].tolist() == [[7, 7], [3, 7]]


def test_tiles_stand_in_rows_and_an_empty_cell_is_grey() -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    tiles = [*(Image.new("RGB", (20, 20), colour) for colour in colours), None]
    picture = sheet(tiles, ["", "", "", ""], n_columns=2)
    assert picture.size == (2 * 20 + 6 + 2 * 12, 2 * 20 + 6 + 2 * 12)
    assert [picture.getpixel((x, y)) for y in (20, 48) for x in (20, 48)] == [*colours, GREY]
    assert picture.getpixel((34, 20)) == PAPER  # the gap
    told = sheet(
        tiles, ["0", "1", "2", "3"], n_columns=2, title="a title that is wider than all the tiles", row_names="ab"
    )
    assert told.width > picture.width and told.height > picture.height + 2 * 11


def test_pictures_of_enlarged_pixels_are_written_fast_and_nearly_as_small() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (3, 60, 80), dtype=torch.uint8, generator=generator)
    picture = fitted(as_picture(pixels // 16 * 16), 360)

    def optimised() -> bytes:
        content = io.BytesIO()
        picture.save(content, format="PNG", optimize=True)
        return content.getvalue()

    def seconds(write: Callable[[], bytes]) -> float:
        begin = time.process_time()
        write()
        return time.process_time() - begin

    assert len(png(picture)) < 1.25 * len(optimised())
    assert min(seconds(lambda: png(picture)) for _ in range(3)) < 0.6 * min(seconds(optimised) for _ in range(3))
