"""Draws answers.png: queries with their best answers; the colour of a frame tells right from wrong."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from deepcluster.data.decode import BrokenImage
from deepcluster.evaluation.retrieval.report import Search
from deepcluster.evaluation.retrieval.scores import Answer, relevance
from deepcluster.evaluation.retrieval.sets import Box, read_resized, to_larger_side

N_ANSWERS = 10
TILE = 112  # pixels
FRAME, GAP, MARGIN, CAPTION = 4, 8, 16, 20
# Okabe and Ito's green and vermilion, which colour-blind people tell apart.
COLOURS = {"positive": (0, 158, 115), "wrong": (213, 94, 0), "ignored": (160, 160, 160)}
INK, FAINT, PAPER = (30, 30, 30), (110, 110, 110), (255, 255, 255)


def evenly_chosen(search: Search, n: int) -> list[Answer]:
    """n queries' answers, evenly spread from the best to the worst average precision, of one protocol."""
    protocols = list(search.searched.queries[0].truths)
    protocol = "medium" if "medium" in protocols else protocols[0]
    judged = [answer for answer in search.answers if answer.protocol == protocol]
    # Ties are sorted by file name, so that they do not all come from the first folder.
    ordered = sorted(
        judged, key=lambda answer: (-answer.average_precision, search.searched.queries[answer.query].path.stem)
    )
    n = min(n, len(ordered))
    return [ordered[i * (len(ordered) - 1) // max(1, n - 1)] for i in range(n)]


def answer_page(search: Search, rows: list[Answer]) -> Image.Image:
    """One row for each answer: the query (its region), then its best images of the database in order.

    Ignored images (junk) are shown at their place in the ranking, with a grey frame.
    """
    searched = search.searched
    n = min(N_ANSWERS, len(searched.database))
    side = TILE + 2 * FRAME
    height = CAPTION + side + GAP
    width = 2 * MARGIN + side + 2 * GAP + n * (side + GAP) - GAP
    page = Image.new("RGB", (width, 2 * MARGIN + 2 * CAPTION + len(rows) * height), PAPER)
    draw = ImageDraw.Draw(page)
    any_ignored = any(searched.queries[answer.query].truths[answer.protocol].ignored for answer in rows)
    _legend(draw, rows[0].protocol if rows else "", any_ignored)
    for row, answer in enumerate(rows):
        query, top = searched.queries[answer.query], MARGIN + 2 * CAPTION + row * height
        truth = query.truths[answer.protocol]
        first, n_right = answer.places[0] + 1, len(answer.places)
        where = (
            f"right answer at place {first}" if n_right == 1 else f"first of {n_right} right answers at place {first}"
        )
        caption = f"{query.name}     average precision {answer.average_precision:.2f}     {where}"
        draw.text((MARGIN, top), caption, fill=INK, font=_font(13))
        _paste(page, query.path, query.box, (MARGIN, top + CAPTION), FAINT)
        for place, image in enumerate(search.rankings[answer.query, :n].tolist()):
            left = MARGIN + side + 2 * GAP + place * (side + GAP)
            _paste(page, searched.database[image], None, (left, top + CAPTION), COLOURS[relevance(truth, image)])
    return page


def _legend(draw: ImageDraw.ImageDraw, protocol: str, ignored: bool) -> None:
    left = MARGIN
    title = "Query, and the most similar images" + (f" ({protocol} protocol)" if protocol else "")
    draw.text((left, MARGIN), title, fill=INK, font=_font(15))
    left += round(draw.textlength(title, font=_font(15))) + 3 * GAP
    names = {"positive": "the same object", "wrong": "another", "ignored": "ignored by the protocol"}
    for kind, name in names.items():
        if kind == "ignored" and not ignored:
            continue
        draw.rectangle((left, MARGIN + 3, left + 12, MARGIN + 15), outline=COLOURS[kind], width=FRAME)
        draw.text((left + 18, MARGIN + 1), name, fill=FAINT, font=_font(13))
        left += 18 + round(draw.textlength(name, font=_font(13))) + 3 * GAP


def _paste(
    page: Image.Image, path: Path, box: Box | None, corner: tuple[int, int], colour: tuple[int, int, int]
) -> None:
    """Paste the whole image into the middle of a framed tile."""
    left, top = corner
    side = TILE + 2 * FRAME
    ImageDraw.Draw(page).rectangle((left, top, left + side - 1, top + side - 1), outline=colour, width=FRAME)
    try:
        image = read_resized(path, 3, 4 * TILE, box)  # read large first, so that a small region keeps its details
    except BrokenImage:  # also an array whose channels are not colours
        ImageDraw.Draw(page).text((left + 3 * FRAME, top + TILE // 2), "no picture", fill=FAINT, font=_font(13))
        return
    tile = Image.fromarray(to_larger_side(image, TILE).permute(1, 2, 0).contiguous().numpy())
    page.paste(tile, (left + FRAME + (TILE - tile.width) // 2, top + FRAME + (TILE - tile.height) // 2))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
