"""Clusters that mean nothing are told in words; those that may mean something are not."""

import pytest
import torch
from torch import Tensor

from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.collapse import tell_collapse
from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.moments import Moments
from deepcluster.clustering.pca import FittedReduction, effective_dim
from deepcluster.clustering.reduction import Reduction

GENERATOR = torch.Generator().manual_seed(0)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=GENERATOR)


def clustered(features: Tensor, k: int = 4, dim: int = 4) -> Assignment:
    """As a run clusters them."""
    moments = Moments(features.shape[1])
    moments.update(features)
    fitted: FittedReduction = Reduction(dim=dim).fit(moments)
    found = KMeans(k=k).fit(fitted.apply(features), seed=0, device="cpu")
    return Assignment(**{**vars(found), "reduction": fitted})


def sized(*sizes: int, **more: int) -> Assignment:
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return Assignment(labels=labels, k=len(sizes), objective=0.0, centroids=torch.zeros(len(sizes), 2), **more)


def test_images_with_features_of_many_directions_are_not_told() -> None:
    assert tell_collapse(clustered(normal(200, 8))) is None


def test_images_all_alike_are_told() -> None:
    assert "all images have the same features" in str(tell_collapse(clustered(normal(1, 8).expand(20, 8))))


def test_fewer_different_images_than_clusters_are_told() -> None:
    assert "fewer different features than clusters" in str(tell_collapse(clustered(normal(2, 8).repeat(20, 1))))


def test_features_along_one_direction_are_told() -> None:
    features = normal(200, 1) * normal(1, 8) + 1e-3 * normal(200, 8)
    assert "one direction only (1.00 effective" in str(tell_collapse(clustered(features)))


@pytest.mark.parametrize(("sizes", "said"), [((95, 2, 2, 1), "holds 95%"), ((80, 10, 10), ""), ((95, 5), "")])
def test_one_cluster_with_nearly_all_images_is_told(sizes: tuple[int, ...], said: str) -> None:
    assert said in str(tell_collapse(sized(*sizes))) if said else tell_collapse(sized(*sizes)) is None


def test_clusters_that_were_empty_are_told_however_they_were_repaired() -> None:
    assert "2 of 4 clusters" in str(tell_collapse(sized(5, 5, 5, 5, n_repaired=2)))
    assert "2 of 4 clusters" in str(tell_collapse(sized(5, 5, n_squeezed=2)))
    assert tell_collapse(sized(5, 5, 5, 5, n_repaired=1)) is None


def test_effective_dimensions_by_hand() -> None:
    ones = torch.ones(3, dtype=torch.float64)
    assert effective_dim(ones, torch.eye(3, dtype=torch.float64)) == pytest.approx(3)
    assert effective_dim(ones, torch.diag(torch.tensor([1.0, 1.0, 0.0]))) == pytest.approx(2)
    assert effective_dim(1e4 * ones, 1e-3 * torch.eye(3)) == 0
