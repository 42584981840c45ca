"""The picture for loggers: which clusters and members it shows, that each is where it should be."""

import itertools

import numpy as np
import torch

from deepcluster.clustering.assignment import Assignment
from deepcluster.data.images import MemoryImages
from deepcluster.visualization.clusters_picture import clusters_picture
from deepcluster.visualization.members import spread_members

CARD = {"resize": 8, "image_size": 8, "mean": [0.5], "std": [0.25]}
SIZES = [5, 1, 9, 3, 7]  # of clusters 0..4
CLUSTERS = torch.repeat_interleave(torch.arange(5), torch.tensor(SIZES))


def test_clusters_are_spread_from_the_largest_to_the_smallest() -> None:
    shown = spread_members(CLUSTERS, None, k=6, n_clusters=3, n_members=4, seed=1)
    assert [row.number for row in shown] == [2, 0, 1]  # of the order 2, 4, 0, 3, 1; cluster 5 is empty
    assert [len(row.random) for row in shown] == [4, 4, 1]
    for row in shown:
        assert row.size == SIZES[row.number] and len(set(row.random)) == len(row.random)
        assert set(CLUSTERS[row.random].tolist()) == {row.number}
    all_shown = spread_members(CLUSTERS, None, k=6, n_clusters=99, n_members=9, seed=1)
    assert [row.number for row in all_shown] == [2, 4, 0, 3, 1]
    assert sorted(i for row in all_shown for i in row.random) == list(range(25))
    assert [row.number for row in spread_members(CLUSTERS, None, k=5, n_clusters=1, n_members=1, seed=1)] == [2]


def test_members_are_random_and_repeatable() -> None:
    def members(seed: int) -> list[int]:
        return spread_members(torch.zeros(1000, dtype=torch.int64), None, k=1, n_clusters=1, n_members=9, seed=seed)[
            0
        ].random

    assert members(1) == members(1) != members(2) and members(1) != list(range(9))


def test_each_tile_is_the_image_that_was_drawn() -> None:
    """Every image is one grey of its own, so a tile's colour tells which it is."""
    n = len(CLUSTERS)
    pixels = (10 * torch.arange(n, dtype=torch.uint8)).view(n, 1, 1, 1).expand(n, 1, 8, 8).contiguous()
    images = MemoryImages(images=pixels, samples=[str(i) for i in range(n)], labels=CLUSTERS % 2, classes=["a", "b"])
    assignment = Assignment(labels=CLUSTERS, k=5, objective=0.0, centroids=torch.zeros(5, 1))
    picture = clusters_picture(images, CARD, assignment, n_clusters=2, n_members=3, seed=1, title="epoch 0")
    shown = spread_members(CLUSTERS, images.labels, k=5, n_clusters=2, n_members=3, seed=1)
    array = np.asarray(picture)
    assert picture.mode == "RGB"
    side, gap, top = 56, 6, 12 + 15 + 12  # tiles.py
    for row in shown:
        line = array[top + side // 2, :, 0].tolist()
        runs = [(grey, len(list(run))) for grey, run in itertools.groupby(line)]
        tiles = [grey for grey, length in runs if length == side]  # an empty cell is light grey
        assert tiles == [10 * index for index in row.random] + [225] * (3 - len(row.random))
        top += side + gap
