"""Draw the gallery as PNG pages: a row for each cluster, its numbers at the left, its members beside them."""

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from deepcluster.visualization.gallery_members import Members
from deepcluster.visualization.thumbnails import magnified
from deepcluster.visualization.tiles import as_picture, png

MARGIN, TEXT, GAP, BETWEEN = 20, 190, 3, 20  # pixels: outside, the numbers' column, between thumbnails, between groups
LEAST = 56  # pixels of a thumbnail's side; smaller ones are magnified
INK, SOFT = (29, 36, 48), (102, 112, 133)


def gallery_sheet(
    clusters: list[Members], pictures: dict[int, Tensor], names: dict[int, str] | None, n_members: int
) -> bytes:
    """Draw a page, as the content of a PNG.

    Args:
        clusters: one for each row.
        pictures: image index -> thumbnail uint8 (3, S, S), for all images to show.
        names: label -> the class's name; None without labels.
        n_members: columns for each kind: nearest, farthest, random.
    """
    size = next(iter(pictures.values())).shape[-1]
    factor = max(1, -(-LEAST // size))
    side = size * factor
    group = n_members * (side + GAP) - GAP
    n_groups = 1 + any(c.farthest for c in clusters) + any(c.random for c in clusters)
    width = MARGIN + TEXT + n_groups * group + (n_groups - 1) * BETWEEN + MARGIN
    header, pitch = MARGIN + 24, max(side, 64) + 12
    canvas = Image.new("RGB", (width, header + len(clusters) * pitch + MARGIN - 12), "white")
    pen = ImageDraw.Draw(canvas)
    large, small = ImageFont.load_default(size=18), ImageFont.load_default(size=13)
    starts = [MARGIN + TEXT + i * (group + BETWEEN) for i in range(n_groups)]
    for start, title in zip(starts, ("nearest to the centroid", "farthest", "random, of the others"), strict=False):
        pen.text((start, MARGIN - 4), title, fill=SOFT, font=small)
    for row, cluster in enumerate(clusters):
        top = header + row * pitch
        pen.text((MARGIN, top), str(cluster.number), fill=INK, font=large)
        lines = [f"{cluster.size_text}, distance {cluster.mean_distance:.2f}"]
        if cluster.majority is not None and names is not None:
            lines.append(f"{cluster.purity:.0%} {_fitting(names[cluster.majority], small)}")
        for i, line in enumerate(lines):
            pen.text((MARGIN, top + 24 + 18 * i), line, fill=SOFT, font=small)
        for start, members in zip(starts, (cluster.nearest, cluster.farthest, cluster.random), strict=False):
            for column, index in enumerate(members):
                thumbnail = as_picture(magnified(pictures[index], factor))
                canvas.paste(thumbnail, (start + column * (side + GAP), top))
    return png(canvas)


def _fitting(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The name, shortened so that it fits into the column with a percentage."""
    if font.getlength(name) <= TEXT - 50:
        return name
    while name and font.getlength(name + "...") > TEXT - 50:
        name = name[:-1]
    return name + "..."
