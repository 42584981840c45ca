"""A grid of small pictures, each with a caption beneath. Pages of channels and of images use it."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from deepcluster.system.atomic import write_atomically

PAPER, INK, GREY = (255, 255, 255), (30, 30, 30), (225, 225, 225)
GAP, MARGIN = 6, 12  # pixels between tiles, and around all
CAPTION, TITLE = 11, 15  # heights of the letters


def as_picture(pixels: Tensor) -> Image.Image:
    """uint8 (C, h, w) as a picture: one channel in grey, three as RGB, other numbers side by side in grey."""
    pixels = pixels.cpu()
    if len(pixels) == 3:
        return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    return Image.fromarray(torch.cat(list(pixels), dim=1).contiguous().numpy())


def fitted(picture: Image.Image, height: int) -> Image.Image:
    """A picture about `height` high: small ones enlarged by a whole factor (sharp squares), large ones shrunk."""
    if picture.height <= height:
        factor = max(1, round(height / picture.height))
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    width = max(1, round(picture.width * height / picture.height))
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def sheet(
    tiles: Sequence[Image.Image | None],
    captions: Sequence[str],
    *,
    n_columns: int | None = None,
    title: str = "",
    row_names: Sequence[str] = (),
) -> Image.Image:
    """Tiles of any sizes in a grid, each centred in its cell; None is an empty cell, in light grey.

    Args:
        captions: one for each tile, beneath it; "" for none.
        n_columns: None takes about as many columns as rows.
        title: a line above the grid.
        row_names: one for each row, to its left.
    """
    assert tiles and len(captions) == len(tiles), "one caption for each tile"
    n_columns = n_columns or math.ceil(math.sqrt(len(tiles)))
    n_rows = math.ceil(len(tiles) / n_columns)
    small, large = ImageFont.load_default(CAPTION), ImageFont.load_default(TITLE)
    shown = [tile for tile in tiles if tile is not None] or [Image.new("RGB", (32, 32))]
    under = CAPTION + 5 if any(captions) else 0
    width = max(max(tile.width for tile in shown), *(math.ceil(small.getlength(text)) for text in [*captions, ""]))
    height = max(tile.height for tile in shown)
    left = MARGIN + (max(math.ceil(small.getlength(name)) for name in row_names) + MARGIN if row_names else 0)
    top = MARGIN + (TITLE + MARGIN if title else 0)
    total_width = left + n_columns * (width + GAP) - GAP + MARGIN
    total_width = max(total_width, math.ceil(large.getlength(title)) + 2 * MARGIN)
    paper = Image.new("RGB", (total_width, top + n_rows * (height + under + GAP) - GAP + MARGIN), PAPER)
    pen = ImageDraw.Draw(paper)
    pen.text((MARGIN, MARGIN), title, fill=INK, font=large)
    for row, name in enumerate(row_names):
        middle = top + row * (height + under + GAP) + height // 2
        pen.text((MARGIN, middle), name, fill=INK, font=small, anchor="lm")
    for number, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        row, column = divmod(number, n_columns)
        x, y = left + column * (width + GAP), top + row * (height + under + GAP)
        if tile is None:
            pen.rectangle((x, y, x + width - 1, y + height - 1), fill=GREY)
        else:
            x0, y0 = x + (width - tile.width) // 2, y + (height - tile.height) // 2
            paper.paste(tile, (x0, y0))
            pen.rectangle((x0 - 1, y0 - 1, x0 + tile.width, y0 + tile.height), outline=GREY)  # an edge for white tiles
        pen.text((x + width // 2, y + height + 2), caption, fill=INK, font=small, anchor="ma")
    return paper


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a PNG file atomically."""
    write_atomically(path, png(picture))


def png(picture: Image.Image) -> bytes:
    """A picture as PNG.

    PIL's `optimize` is off: for pictures of enlarged pixels it took ten times as long and saved half a percent.
    """
    content = io.BytesIO()
    picture.save(content, format="PNG")
    return content.getvalue()


def padded(pixels: Tensor, rows: tuple[int, int], columns: tuple[int, int], value: int = GREY[0]) -> Tensor:
    """Rows and columns [first, end) of uint8 (C, H, W); what lies outside the image has `value`."""
    height, width = pixels.shape[1:]
    inside = pixels[
        :, max(0, rows[0]) : max(0, min(rows[1], height)), max(0, columns[0]) : max(0, min(columns[1], width))
    ]
    pad = [max(0, -columns[0]), max(0, columns[1] - width), max(0, -rows[0]), max(0, rows[1] - height)]
    return F.pad(inside, pad, value=value)
