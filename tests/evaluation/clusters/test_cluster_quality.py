"""Cluster quality: which clusters are compared, on which images, and with which mapping."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from reference.clustering import nearest
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score
from support.evaluated import context, features, pictures
from torch import Tensor

from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.history import write_samples
from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.moments import Moments
from deepcluster.clustering.reduction import Reduction
from deepcluster.evaluation.clusters.cluster_quality import ClusterQuality
from deepcluster.evaluation.clusters.label_fit import label_fit
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.system.seeding import mix

TRAIN, TEST = pictures(120, 0), pictures(60, 1, name="test")


def clustered(folder: Path, k: int = 6) -> tuple[EvaluationContext, Assignment, Tensor, Tensor]:
    """A context whose checkpoint holds k-means of its own features; reduced training and test features."""
    bare = context(folder, TRAIN, TEST)
    x = features(bare, TRAIN)
    moments = Moments(84)
    moments.update(x)
    reduction = Reduction(dim=5, fit_images=None).fit(moments)
    found = KMeans(k=k).fit(reduction.apply(x), seed=3)
    assignment = dataclasses.replace(found, reduction=reduction)
    run = folder / "run"
    write_samples(run / "assignments", TRAIN.samples)
    stored = context(folder, TRAIN, TEST, assignment=assignment, path=run / "checkpoints" / "last.ckpt")
    stored.run_data = stored.data
    return stored, assignment, reduction.apply(x), reduction.apply(features(bare, TEST))


def test_quality_by_hand() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 2, -1])
    clusters = torch.tensor([0, 0, 1, 1, 1, 3, 2])
    found = label_fit(labels, clusters, torch.tensor([1, 1, 0, 2]))
    assert found["purity"] == pytest.approx(5 / 6) and found["one_to_one_accuracy"] == pytest.approx(5 / 6)
    assert found["many_to_one_accuracy"] == pytest.approx(3 / 6)  # not by these images' majorities but as given
    assert found["clusters_used"] == 3  # the unlabelled image's does not count
    known = labels >= 0
    expected = normalized_mutual_info_score(labels[known], clusters[known])
    assert found["nmi"] == pytest.approx(expected) and found["nmi"] > found["ami"]
    assert found["ami"] == pytest.approx(adjusted_mutual_info_score(labels[known], clusters[known]))


def test_own_clusters_are_the_stored_ones_on_train_and_the_nearest_on_test(tmp_path: Path) -> None:
    stored, assignment, _, test_x = clustered(tmp_path)
    # As after PIC: the labels are no nearest centroids. A third of the images is moved to the next cluster.
    moved = torch.where(torch.arange(120) % 3 == 0, (assignment.labels + 1) % 6, assignment.labels)
    stored.stored.assignment = dataclasses.replace(assignment, labels=moved)
    found = ClusterQuality(n_seeds=0).run(stored)
    assert found["own_train_nearest_share"] == pytest.approx(2 / 3)
    assert found["own_train_nmi"] == pytest.approx(normalized_mutual_info_score(TRAIN.labels, moved))
    assert found["own_train_many_to_one_accuracy"] == found["own_train_purity"]
    cells = nearest(test_x.double().numpy(), assignment.centroids.double().numpy())
    assert found["own_test_nmi"] == pytest.approx(normalized_mutual_info_score(TEST.labels, cells))
    table = np.zeros((6, 4))
    for cluster, label in zip(moved.tolist(), TRAIN.labels.tolist(), strict=True):  # type: ignore[union-attr]
        table[cluster, label] += 1
    right = table.argmax(1)[cells] == TEST.labels.numpy()  # type: ignore[union-attr]
    assert found["own_test_many_to_one_accuracy"] == pytest.approx(right.mean())
    assert found["own_test_many_to_one_accuracy"] != found["own_test_purity"]
    assert (found["n_train"], found["n_test"]) == (120, 60)


def test_on_other_images_than_the_runs_all_are_nearest(tmp_path: Path) -> None:
    stored, assignment, _, test_x = clustered(tmp_path)
    others = dataclasses.replace(TEST, samples=[f"other/{i}" for i in range(60)])
    elsewhere = context(tmp_path, others, assignment=assignment, path=stored.stored.path)
    found = ClusterQuality(n_seeds=0).run(elsewhere)
    cells = nearest(test_x.double().numpy(), assignment.centroids.double().numpy())
    assert found["own_train_nmi"] == pytest.approx(normalized_mutual_info_score(TEST.labels, cells))
    assert "own_train_nearest_share" not in found and "n_test" not in found
    assert any("not the images that the run learned from" in line for line in elsewhere.progress.lines)  # type: ignore[attr-defined]


def test_fresh_clusters_are_as_many_as_classes_on_the_runs_reduction(tmp_path: Path) -> None:
    stored, _, train_x, _ = clustered(tmp_path)
    found = ClusterQuality(n_seeds=3).run(stored)
    assert found["fresh_k"] == 4 and found["fresh_train_clusters_used"] == 4
    twin = ClusterQuality(n_seeds=1).run(stored)
    fresh = KMeans(k=4).fit(train_x, seed=mix(1, "cluster_quality", 0)).labels
    assert twin["fresh_train_nmi"] == pytest.approx(normalized_mutual_info_score(TRAIN.labels, fresh))
    assert "fresh_train_nmi_std" not in twin and found["fresh_train_nmi_std"] >= 0  # one seed tells no deviation
    assert 0.2 < found["fresh_test_one_to_one_accuracy"] <= found["fresh_test_purity"] <= 1


def test_without_clusters_in_the_file_features_are_reduced_anew(tmp_path: Path) -> None:
    bare = context(tmp_path, TRAIN, TEST)
    found = ClusterQuality(n_seeds=1, reduction=Reduction(dim=500, fit_images=None)).run(bare)
    moments = Moments(84)
    moments.update(features(bare, TRAIN))
    reduced = Reduction(dim=84, fit_images=None).fit(moments).apply(features(bare, TRAIN))
    fresh = KMeans(k=4).fit(reduced, seed=mix(1, "cluster_quality", 0)).labels
    assert found["fresh_train_nmi"] == pytest.approx(normalized_mutual_info_score(TRAIN.labels, fresh))
    assert "own_train_nmi" not in found
    assert any("PCA to 84 dimensions" in line for line in bare.progress.lines)  # type: ignore[attr-defined]


def test_labels_are_needed_and_asked_for_first(tmp_path: Path) -> None:
    for labels in (None, torch.full((120,), -1), torch.zeros(120, dtype=torch.int64)):
        with pytest.raises(ValueError, match="no labels of two classes"):
            ClusterQuality().run(context(tmp_path, dataclasses.replace(TRAIN, labels=labels)))
    with pytest.raises(ValueError, match=r"evaluation.k=121 needs .* there are 120"):
        ClusterQuality(k=121).run(context(tmp_path, TRAIN))
    with pytest.raises(ValueError, match=r"evaluation.n_seeds must be at least 0"):
        ClusterQuality(n_seeds=-1)
