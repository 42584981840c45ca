import csv
import os
from pathlib import Path

import torch
from PIL import Image

from deepcluster.data.images import FileImages
from deepcluster.evaluation.samples.duplicates import (
    distinct,
    file_ranks,
    group_copies,
    group_numbers,
    write_duplicates,
)
from deepcluster.evaluation.samples.near_copies import NearCopies

NAN = float("nan")


def near(pairs: list[tuple[int, int]], distances: list[float] | None = None) -> NearCopies:
    return NearCopies(
        pairs=torch.tensor(pairs, dtype=torch.int64).view(-1, 2),
        distances=torch.tensor(distances or [0.1] * len(pairs)),
        limit=0.2,
        of_copies=NAN,
        of_others=NAN,
    )


def test_the_first_of_equal_contents_stands_for_all() -> None:
    contents = torch.tensor([[4, 7], [0, 7], [2, 9], [3, 7]])  # image 1 is not known
    assert distinct(contents, 6).tolist() == [0, 1, 2, 0, 0, 5]
    assert distinct(torch.empty(0, 2, dtype=torch.int64), 3).tolist() == [0, 1, 2]


def test_groups_are_stars_and_no_chains() -> None:
    """0 - 1 - 2 - 3 - 4: 1, 2 and 3 have two neighbours each, 2 has the nearest; 0 and 4 stay alone."""
    groups = group_copies(torch.arange(6), near([(0, 1), (1, 2), (2, 3), (3, 4)], [0.15, 0.05, 0.1, 0.15]))
    assert [[(copy.image, round(copy.distance, 3)) for copy in group] for group in groups] == [
        [(2, 0.0), (1, 0.05), (3, 0.1)]
    ]
    assert group_numbers(groups, 6).tolist() == [-1, 0, 0, 0, -1, -1]


def test_exact_copies_join_the_group_of_the_one_that_stands_for_them() -> None:
    first = torch.tensor([0, 1, 2, 1, 4, 5, 5, 5])
    groups = group_copies(first, near([(0, 1)]))
    assert [{copy.image for copy in group} for group in groups] == [{0, 1, 3}, {5, 6, 7}]
    assert [(copy.image, copy.is_exact) for copy in groups[0]] == [(0, False), (1, True), (3, True)]
    assert [copy.distance for copy in groups[1]] == [0, 0, 0]


def test_the_largest_picture_then_the_oldest_file_then_the_largest_then_no_link_then_the_first_by_name_is_kept(
    tmp_path: Path,
) -> None:
    files = {"b.png": 40, "a.png": 40, "c.bmp": 40, "d.png": 60, "lost.png": 0, "old.png": 40}
    for name, side in files.items():
        if side:
            Image.new("RGB", (side, 20), (90, 20, 20)).save(tmp_path / name)
            os.utime(tmp_path / name, (1000, 1000 if name == "old.png" else 2000))
    (tmp_path / "_.png").symlink_to("b.png")
    images = FileImages(root=tmp_path, samples=[*files, "_.png"], n_channels=3)
    rank_of = file_ranks([images], None)
    assert rank_of(3)[0] == 1200 and rank_of(4) == (0, 0, 0, False)
    assert rank_of(2)[2] == (tmp_path / "c.bmp").stat().st_size > rank_of(0)[2] == rank_of(1)[2]

    def kept(*group: int) -> list[str]:
        pairs = [(group[0], other) for other in group[1:]]
        n_more = write_duplicates(
            tmp_path / "d.csv", group_copies(torch.arange(7), near(pairs)), images.samples, rank_of
        )
        with (tmp_path / "d.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [*rows[0]] == ["group", "sample", "kind", "distance", "keep"] and n_more == len(group) - 1 == len(
            rows
        ) - 1
        return [row["sample"] for row in rows if row["keep"] == "true"]

    assert kept(0, 1, 2, 3, 4) == ["d.png"]
    assert kept(0, 1, 2, 5) == ["old.png"]
    assert kept(0, 1, 2) == ["c.bmp"]
    assert kept(0, 1) == ["a.png"]
    assert kept(0, 6) == ["b.png"], "the link would be nothing without it"
    assert file_ranks([images, images], None)(10) == rank_of(3)
