"""A picture of some clusters for a tracker, cheap enough to draw at every reassignment."""

from typing import Any

import torch
from PIL.Image import Image

from deepcluster.clustering.assignment import Assignment
from deepcluster.data.images import ImageSet
from deepcluster.visualization.members import Members, spread_members
from deepcluster.visualization.thumbnails import small_pictures, thumbnail_size
from deepcluster.visualization.tiles import as_picture, fitted, sheet

LARGEST = 64  # pixels of a thumbnail's side
SHOWN = 56  # pixels; smaller thumbnails are enlarged to about this side


def clusters_picture(
    images: ImageSet,
    card: dict[str, Any],
    assignment: Assignment,
    *,
    n_clusters: int,
    n_members: int,
    seed: int,
    title: str,
) -> Image:
    """Draw some clusters, from the largest to the smallest: a row of random members for each.

    Members are random because those nearest to the centroid would make the cluster look purer than it is.

    Args:
        card: describes the network's input: resize, image_size, mean, std.
        title: begins the picture's title, such as "epoch 3".

    Raises:
        BrokenImage: if an image cannot be decoded and is not to be skipped.
    """
    labels = images.labels
    rows = spread_members(
        assignment.labels, labels, k=assignment.k, n_clusters=n_clusters, n_members=n_members, seed=seed
    )
    indices = torch.tensor([index for row in rows for index in row.random])
    side = thumbnail_size(images, LARGEST)
    # Without workers: for so few images, starting them would take longer.
    pictures = dict(small_pictures(images, indices, side, card=card))
    tiles = [
        fitted(as_picture(pictures[row.random[i]]), SHOWN) if i < len(row.random) else None
        for row in rows
        for i in range(n_members)
    ]
    title = f"{title}: random members of {len(rows)} of {assignment.k:,} clusters, from the largest to the smallest"
    names = [_row_name(row, images.classes) for row in rows]
    return sheet(tiles, [""] * len(tiles), n_columns=n_members, title=title, row_names=names)


def _row_name(row: Members, classes: list[str] | None) -> str:
    """A cluster's number, size and, with labels, its commonest class."""
    name = f"{row.number}: {row.size_text}"
    if row.majority is None or row.purity is None:
        return name
    return f"{name}, {row.purity:.0%} {classes[row.majority] if classes else row.majority}"
