"""evaluation=merge: groups of the run's own clusters, in files, in a picture and in numbers."""

import csv
import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import average, fcluster
from scipy.spatial.distance import squareform
from support.evaluated import Said, context, features, pictures

from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.metrics import nmi
from deepcluster.clustering.reduction import Reduction
from deepcluster.evaluation.clusters.merged_clusters import mean_distances, merge_clusters
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.visualization.merge import Merge

IMAGES = pictures(160, 1)


@pytest.fixture(scope="module")
def assignment(tmp_path_factory: pytest.TempPathFactory) -> Assignment:
    rows = features(context(tmp_path_factory.mktemp("features"), IMAGES), IMAGES)
    return KMeans(k=12).fit(rows, seed=1)


def evaluated(folder: Path, assignment: Assignment) -> EvaluationContext:
    return context(folder, IMAGES, assignment=assignment)


def table(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_groups_are_scipys_of_the_mean_distances_between_images(tmp_path: Path) -> None:
    found = features(context(tmp_path, IMAGES), IMAGES)
    reduction = Reduction(dim=10).fit_rows(found)  # rows of length 1
    rows = reduction.apply(found)
    assignment = replace(KMeans(k=12).fit(rows, seed=1), reduction=reduction)
    labels = assignment.labels
    squared, one_hot = torch.cdist(rows.double(), rows.double()).square(), torch.eye(12).double()[labels]
    means = one_hot.T @ squared @ one_hot / (assignment.sizes()[:, None] * assignment.sizes())
    off = ~torch.eye(12, dtype=torch.bool)
    torch.testing.assert_close(mean_distances(assignment)[off], means[off], rtol=1e-4, atol=1e-4)
    between = means[labels][:, labels].masked_fill(labels[:, None] == labels, 0.0)  # images begin in their clusters
    plain = average(squareform(between.numpy(), checks=False))
    for k in range(1, 13):
        groups = merge_clusters(assignment, k).of_images(labels).numpy()
        expected = fcluster(plain, k, criterion="maxclust")
        np.testing.assert_array_equal(groups[:, None] == groups, expected[:, None] == expected)
        sizes = np.bincount(groups, minlength=k)
        assert (np.diff(sizes) <= 0).all() and sizes.min() > 0  # the largest first


def test_a_worked_example() -> None:
    centroids = torch.tensor([[0.0], [10.0], [1.0], [12.0], [30.0]])
    labels = torch.tensor([0] * 2 + [1] * 4 + [2] * 3 + [3] * 5 + [4])
    of = Assignment(labels=labels, k=5, objective=0.0, centroids=centroids)
    assert merge_clusters(of, 3).groups.tolist() == [1, 0, 1, 0, 2]  # {1, 3}: 9 images, {0, 2}: 5, {4}: 1
    assert merge_clusters(of, 5).groups.tolist() == [3, 1, 2, 0, 4]  # by size
    assert merge_clusters(of, 3).of_images(torch.tensor([4, -1, 3])).tolist() == [2, -1, 0]


def test_a_cluster_that_is_kept_empty_joins_its_nearest() -> None:
    centroids = torch.tensor([[0.0], [10.0], [11.0]])
    of = Assignment(labels=torch.tensor([0] * 5 + [1] * 5), k=3, objective=0.0, centroids=centroids, n_unused=1)
    assert merge_clusters(of, 2).groups.tolist() == [0, 1, 1]


def test_files_and_numbers_tell_the_same_groups(tmp_path: Path, assignment: Assignment) -> None:
    found = evaluated(tmp_path, assignment)
    numbers = Merge(k=4).run(found)
    merged, images = table(tmp_path / "merged.csv"), table(tmp_path / "clusters.csv")
    group = {row["cluster"]: row["group"] for row in merged}
    assert len(merged) == 12 and set(group.values()) == {"0", "1", "2", "3"}
    assert [row["group"] for row in merged] == sorted(row["group"] for row in merged)
    assert [row["sample"] for row in images] == list(IMAGES.samples)
    assert all(group[row["cluster"]] == row["group"] for row in images)
    assert sum(int(row["images"]) for row in merged) == len(images) == numbers["n_images"]
    assert IMAGES.labels is not None
    of_images = torch.tensor([int(row["group"]) for row in images])
    assert numbers["groups_nmi_labels"] == pytest.approx(nmi(of_images, IMAGES.labels))
    assert numbers["clusters_purity"] >= numbers["groups_purity"] and numbers["n_groups"] == 4
    assert isinstance(found.progress, Said)
    told = [line for line in found.progress.lines if line.startswith("group ")]
    assert re.match(r"group 0: \d+ images in clusters \d+(, \d+)*$", told[0]) and len(told) == 4


def test_the_picture_draws_each_cluster_and_each_join_once(tmp_path: Path, assignment: Assignment) -> None:
    Merge(k=4).run(evaluated(tmp_path, assignment))
    drawn = (tmp_path / "merged.svg").read_text()
    told = re.findall(r">group (\d+)</tspan> cluster (\d+): ", drawn)
    assert dict((c, g) for g, c in told) == {row["cluster"]: row["group"] for row in table(tmp_path / "merged.csv")}
    assert len(told) == 12 and drawn.count(' d="M') == 11 + 1  # and the cut
    along = [g for g, _ in told]
    assert sum(a != b for a, b in itertools.pairwise(along)) == 3  # a group's clusters stand together


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"evaluation=merge needs evaluation.k=NUMBER, the groups into which the run's 12 clusters are joined"),
        ({"k": 13}, r"evaluation.k=13 is more than the run's 12 clusters; lower it"),
        ({"k": 1}, r"evaluation.k must be at least 2, got 1"),
        ({"k": 3, "clusters": "mine"}, r"evaluation.clusters must be one of auto, own, nearest, got 'mine'"),
    ],
)
def test_typing_mistakes_are_refused(
    tmp_path: Path, assignment: Assignment, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Merge(**settings).run(evaluated(tmp_path, assignment))
    assert not list(tmp_path.iterdir())
