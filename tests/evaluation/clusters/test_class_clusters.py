"""Clusters as many as classes: a figure of rows that knows no K of a run."""

import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import normalized_mutual_info_score
from torch.nn import functional as F

from deepcluster.evaluation.clusters import class_clusters
from deepcluster.evaluation.clusters.class_clusters import leading_components, nmi_of_class_clusters


def blobs(n: int, dim: int, noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(n)
    labels = torch.arange(n) % 3
    return 3 * torch.eye(3, dim)[labels] + noise * torch.randn(n, dim, generator=draw), labels


def test_classes_that_lie_apart_are_found_and_noise_is_not() -> None:
    apart, noise = (blobs(90, 5, spread) for spread in (0.05, 100.0))
    assert nmi_of_class_clusters(*apart, *apart, seed=1) > 0.7  # a start of five may divide one class
    assert nmi_of_class_clusters(*noise, *noise, seed=1) < 0.2


def test_it_is_the_nmi_of_k_means_of_rows_of_length_1() -> None:
    train, test = blobs(300, 5, 1.0), blobs(120, 5, 1.0)
    rows = F.normalize(torch.cat([test[0], train[0]])).numpy()
    labels = torch.cat([test[1], train[1]])
    best = KMeans(3, n_init=10, random_state=0).fit_predict(rows)
    found = nmi_of_class_clusters(*train, *test, seed=1)
    assert found == pytest.approx(normalized_mutual_info_score(labels, best), abs=0.03)


def test_test_images_come_first_and_training_images_fill_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_clusters, "N_IMAGES", 100)
    train, test = blobs(300, 5, 100.0), blobs(100, 5, 0.05)
    assert nmi_of_class_clusters(*train, *test, seed=1) > 0.7  # the training images, noise, have no place


def test_leading_components_are_those_of_pca() -> None:
    rows = torch.randn(300, 100, generator=torch.Generator().manual_seed(0)) * torch.arange(100).flip(0) ** 2
    found = leading_components(rows, 3, seed=1)
    expected = torch.from_numpy(PCA(64).fit_transform(rows.numpy()))
    assert found.shape == (300, 64)
    assert float(found.square().sum() / expected.square().sum()) == pytest.approx(1, abs=1e-3)
    assert torch.allclose(torch.pdist(found), torch.pdist(expected), rtol=0.02)
