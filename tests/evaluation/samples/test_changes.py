"""What new pictures change: groups, pictures that fit nowhere, pictures that are gone; and which a run has seen."""

from pathlib import Path

import numpy as np
import pytest
import torch

from deepcluster.clustering.history import FOLDER, write_contents
from deepcluster.data.images import MemoryImages
from deepcluster.evaluation.samples.changes import Group, changes_by, compare
from deepcluster.evaluation.samples.reach import Reach, read_reach
from deepcluster.evaluation.samples.seen import numbers_by_content, numbers_by_identity
from deepcluster.system.seeding import generator
from deepcluster.system.tables import read_csv, write_csv


def test_groups_and_pictures_by_hand(tmp_path: Path) -> None:
    """Cluster 0 grows by three and 1 by one, though e is gone; 2 is scattered; 3 is made of new ones and one of 2's;
    4 gets z and loses two; 5 gets n in m's place."""
    before = {"a": 0, "b": 0, "c": 1, "d": 1, "e": 1, "f": 2, "g": 2, "h": 2}
    before |= {"p": 4, "q": 4, "r": 4, "s": 4, "k": 5, "m": 5}
    now = {"a": 0, "b": 0, "x": 0, "y": 0, "c": 1, "d": 1, "f": 0, "g": 3, "h": 1, "v": 3, "w": 3, "u": 2}
    now |= {"p": 4, "q": 4, "r": 1, "z": 4, "k": 5, "n": 5}
    fits = [sample not in ("y", "a") for sample in now]
    changes = compare(before, list(now), list(now.values()), fits=fits, names={"0": "dogs"})
    assert changes.n_new == 7
    assert changes.grown == [Group(cluster=0, before=2, now=5, new=2), Group(cluster=1, before=3, now=4, new=0)]
    assert changes.shrunk == [Group(cluster=4, before=4, now=3, new=1)], "it got z, but is smaller"
    assert changes.new_groups == [
        Group(cluster=3, before=0, now=3, new=2),
        Group(cluster=2, before=3, now=1, new=1),
    ]
    assert changes.nowhere == [("y", 0)], "a was there before"
    assert changes.gone == [("e", 1), ("s", 4), ("m", 5)]
    assert changes.lines() == [
        "7 new pictures, 3 gone, 1 of the new fit nowhere, 2 groups grew, 1 shrank, 2 new groups",
        "new: cluster 3 with 3 pictures, cluster 2 with 1 picture",
        "grew most: dogs (0) 2 -> 5, cluster 1 3 -> 4",
    ]
    changes.write(tmp_path / "changes.csv")
    rows = [[*row.values()] for row in read_csv(tmp_path / "changes.csv")]
    assert rows == [
        ["new group", "3", "", "0", "3", "2", ""],
        ["new group", "2", "", "3", "1", "1", ""],
        ["grew", "0", "dogs", "2", "5", "2", ""],
        ["grew", "1", "", "3", "4", "0", ""],
        ["shrank", "4", "", "4", "3", "1", ""],
        ["fits nowhere", "0", "dogs", "", "", "", "y"],
        ["gone", "1", "", "", "", "", "e"],
        ["gone", "4", "", "", "", "", "s"],
        ["gone", "5", "", "", "", "", "m"],
    ]


def test_clusters_that_stay_grow_by_what_is_assigned_to_them() -> None:
    clusters, fits = torch.tensor([2, 0, 2]), torch.tensor([True, False, True])
    changes = changes_by(["a", "b", "c"], clusters, fits=fits, sizes=torch.tensor([5, 4, 3]), names={})
    assert changes.grown == [Group(cluster=2, before=3, now=5, new=2), Group(cluster=0, before=5, now=6, new=1)]
    assert changes.nowhere == [("b", 0)] and not changes.new_groups and not changes.shrunk and not changes.gone
    assert changes_by(["a"], clusters[:1], fits=None, sizes=torch.tensor([5, 4, 3]), names={}).nowhere is None


def test_reach_is_each_clusters_own() -> None:
    """A cluster twice as wide reaches twice as far; what is unusual is what few of its own members would be."""
    random = generator("reach")
    clusters = torch.arange(2_000) % 2
    distances = (1.0 + clusters) * (0.1 * torch.randn(2_000, generator=random)).exp()
    reach = Reach.of(clusters, distances, 3)
    assert reach.medians.tolist() == pytest.approx([1.0, 2.0, float(distances.median())], rel=0.02)
    assert reach.limit == pytest.approx(np.exp(0.3), rel=0.05)
    assert float(reach.fits(clusters, distances).float().mean()) > 0.99
    fits = reach.fits(torch.tensor([0, 0, 1, 1, -1]), torch.tensor([1.2, 1.6, 2.4, 3.2, 0.1]))
    assert fits.tolist() == [True, False, True, False, False]


def test_reach_is_read_from_a_file_with_distances(tmp_path: Path) -> None:
    file = tmp_path / "clusters.csv"
    assert read_reach(file, 2) is None
    write_csv(file, ["sample", "cluster", "distance"], [["a", 0, 1.0], ["b", 1, 2.0], ["c", -1, None]])
    reach = read_reach(file, 2)
    assert reach is not None and reach.medians.tolist() == [1.0, 2.0]
    assert read_reach(file, 1) is None, "of another clustering"
    file.write_text("sample,cluster,distance\na,0,1.0\nb,x,2.0\n")
    with pytest.raises(ValueError, match=r"clusters\.csv was changed \(invalid literal.*delete it"):
        read_reach(file, 2)
    write_csv(file, ["sample", "cluster"], [["a", 0]])
    assert read_reach(file, 2) is None


def test_images_are_known_again_by_what_they_hold(tmp_path: Path) -> None:
    write_contents(tmp_path / FOLDER, np.array([[0, 70], [1, -5], [3, 70]]))
    now = torch.tensor([[0, -5], [1, 8], [3, 70], [4, 99_999]])
    assert numbers_by_content(tmp_path, now, n=5, n_before=4).tolist() == [1, -1, -1, 0, -1]
    assert numbers_by_content(tmp_path, None, n=5, n_before=4).tolist() == [-1] * 5
    assert numbers_by_content(tmp_path / "none", now, n=5, n_before=4).tolist() == [-1] * 5


def test_images_of_a_run_are_known_by_name_unless_they_were_replaced(tmp_path: Path) -> None:
    """b was replaced, c renamed to z, d is a copy of a; what e and f hold is not known."""
    write_contents(tmp_path / FOLDER, np.array([[0, 70], [1, -5], [2, 9], [3, 70]]))
    images = MemoryImages(
        images=torch.zeros(7, 1, 2, 2, dtype=torch.uint8),
        samples=["a", "b", "d", "e", "f", "z", "new"],
        contents=torch.tensor([[0, 70], [1, 6], [2, 70], [4, 11], [5, 9], [6, 5]]),
    )
    assert numbers_by_identity(tmp_path, ["a", "b", "c", "d", "e"], images).tolist() == [0, -1, 3, 4, -1, 2, -1]


def test_copies_that_were_moved_are_known_one_for_one(tmp_path: Path) -> None:
    """a, b and c hold the same; b is where it was, the others and a new copy have other names."""
    write_contents(tmp_path / FOLDER, np.array([[0, 70], [1, 70], [2, 70]]))
    images = MemoryImages(
        images=torch.zeros(4, 1, 2, 2, dtype=torch.uint8),
        samples=["b", "x", "y", "z"],
        contents=torch.tensor([[0, 70], [1, 70], [2, 70], [3, 70]]),
    )
    assert numbers_by_identity(tmp_path, ["a", "b", "c"], images).tolist() == [1, 0, 2, -1]
