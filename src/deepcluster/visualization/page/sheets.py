"""Thumbnails as sprite sheets: 16 pictures a file, in the page's order; and a small cover of each cluster.

A browser decodes a whole sheet to show one of its pictures, so larger sheets would cost memory where pictures of many
clusters stand side by side.
"""

import io
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from deepcluster.visualization.tiles import as_picture

ACROSS = 4  # pictures along each side of a sheet
PER_SHEET = ACROSS**2
COVER_ACROSS, COVER_DOWN = 3, 2  # of a cover
COVER_SIDE = 64  # most pixels of a picture's side on a cover
LOSSLESS = 48  # pixels; pictures up to this side are PNG and shown with sharp pixels, larger ones are JPEG
JPEG_QUALITY = 82
BLANK = 200  # grey of a sheet's unused places


def file_ending(size: int) -> str:
    """Of sheets and covers with thumbnails of this side."""
    return "png" if size <= LOSSLESS else "jpg"


def cover_ranks(n: int) -> list[int]:
    """Which of a cluster's n members its cover shows, from the nearest to its centroid to the farthest, evenly."""
    shown = min(n, COVER_ACROSS * COVER_DOWN)
    return [round(i * (n - 1) / max(1, shown - 1)) for i in range(shown)]


def write_sheets(pictures: Iterable[Tensor], sizes: list[int], numbers: list[int], folder: Path, *, size: int) -> None:
    """Write folder/sheets/0.jpg ... and folder/covers/CLUSTER.jpg, with one sheet in memory.

    Args:
        pictures: uint8 (3, size, size) of each image, in the page's order.
        sizes: how many of them are in each cluster.
        numbers: the clusters' numbers.
        size: the thumbnails' side in pixels.
    """
    (folder / "sheets").mkdir()
    (folder / "covers").mkdir()
    ending, stream = file_ending(size), iter(pictures)
    sheet, small, n_done = _blank(ACROSS, ACROSS, size), min(size, COVER_SIDE), 0
    for n, number in zip(sizes, numbers, strict=True):
        cover, shown = _blank(COVER_ACROSS, COVER_DOWN, small), cover_ranks(n)
        for rank in range(n):
            picture = next(stream)
            _put(sheet, n_done % PER_SHEET, ACROSS, picture)
            if rank in shown:
                _put(cover, shown.index(rank), COVER_ACROSS, _shrunk(picture, small))
            n_done += 1
            if n_done % PER_SHEET == 0:
                _save(sheet, folder / "sheets" / f"{n_done // PER_SHEET - 1}.{ending}")
                sheet.fill_(BLANK)
        _save(cover, folder / "covers" / f"{number}.{ending}")
    if n_done % PER_SHEET:
        _save(sheet, folder / "sheets" / f"{n_done // PER_SHEET}.{ending}")


def _blank(across: int, down: int, size: int) -> Tensor:
    return torch.full((3, down * size, across * size), BLANK, dtype=torch.uint8)


def _put(sheet: Tensor, place: int, across: int, picture: Tensor) -> None:
    size = picture.shape[-1]
    row, column = divmod(place, across)
    sheet[:, row * size : (row + 1) * size, column * size : (column + 1) * size] = picture


def _shrunk(picture: Tensor, size: int) -> Tensor:
    if size == picture.shape[-1]:
        return picture
    return interpolate(picture[None].float(), size=(size, size), mode="area")[0].round().to(torch.uint8)


def _save(sheet: Tensor, path: Path) -> None:
    content = io.BytesIO()
    if path.suffix == ".png":
        as_picture(sheet).save(content, format="PNG")
    else:
        as_picture(sheet).save(content, format="JPEG", quality=JPEG_QUALITY)
    path.write_bytes(content.getvalue())
