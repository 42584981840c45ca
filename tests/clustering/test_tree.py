"""Trees of clusters are those of images that lie at their centroids."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.cluster.hierarchy import average, fcluster, is_valid_linkage, ward
from scipy.spatial.distance import pdist, squareform

from deepcluster.clustering.tree import average_tree, ward_tree


def clusters(k: int, seed: int, *, most: int = 9) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    draw = np.random.default_rng(seed)
    return draw.normal(size=(k, 5)), draw.integers(1, most + 1, size=k)


@pytest.mark.parametrize("seed", range(6))
def test_the_tree_is_scipys_of_every_image_at_its_centroid(seed: int) -> None:
    centroids, sizes = clusters(14, seed)
    tree = ward_tree(centroids, sizes)
    plain = ward(np.repeat(centroids, sizes, axis=0))
    first = np.cumsum(sizes) - sizes  # an image of each cluster
    np.testing.assert_allclose(tree.merges[:, 2], plain[-13:, 2], rtol=1e-9)
    for n in range(1, 15):
        of_images = fcluster(plain, n, criterion="maxclust")[first]
        np.testing.assert_array_equal(tree.groups(n)[:, None] == tree.groups(n), of_images[:, None] == of_images)


def test_of_equal_sizes_it_is_scipys_of_the_centroids() -> None:
    centroids, _ = clusters(60, 1)
    tree, plain = ward_tree(centroids, np.ones(60)), ward(centroids)
    np.testing.assert_allclose(tree.merges[:, 2:], plain[:, 2:], rtol=1e-9)
    np.testing.assert_array_equal(np.sort(tree.merges[:, :2]), np.sort(plain[:, :2]))
    assert is_valid_linkage(tree.merges)


@pytest.mark.parametrize("seed", range(4))
def test_average_linkage_is_scipys_of_every_image_at_its_centroid(seed: int) -> None:
    centroids, sizes = clusters(14, seed)
    tree = average_tree(squareform(pdist(centroids)), sizes)
    plain = average(np.repeat(centroids, sizes, axis=0))
    first = np.cumsum(sizes) - sizes
    np.testing.assert_allclose(tree.merges[:, 2], plain[-13:, 2], rtol=1e-9)
    for n in range(1, 15):
        of_images = fcluster(plain, n, criterion="maxclust")[first]
        np.testing.assert_array_equal(tree.groups(n)[:, None] == tree.groups(n), of_images[:, None] == of_images)


def test_large_clusters_are_joined_late() -> None:
    # 0 and 1 are nearer to each other than 2 and 3, but a hundred images of each would have to move.
    tree = ward_tree(np.array([[0.0], [1.0], [9.0], [11.0]]), np.array([100, 100, 1, 1]))
    np.testing.assert_allclose(tree.merges[0], [2, 3, np.sqrt(2 * 2.0), 2])  # loss 1 * 1 / 2 * 2^2 = 2
    np.testing.assert_allclose(tree.merges[1], [0, 1, np.sqrt(2 * 50.0), 2])  # 100 * 100 / 200 * 1 = 50
    assert [tree.groups(n).tolist() for n in (1, 2, 3, 4)] == [[0] * 4, [0, 0, 1, 1], [0, 1, 2, 2], [0, 1, 2, 3]]


def test_each_cut_refines_the_coarser_one_and_the_order_of_the_clusters_does_not_matter() -> None:
    centroids, sizes = clusters(40, 3)
    order = np.random.default_rng(4).permutation(40)
    tree, other = ward_tree(centroids, sizes), ward_tree(centroids[order], sizes[order])
    for n in range(1, 41):
        groups = tree.groups(n)
        assert len(np.unique(groups)) == n and groups[0] == 0
        np.testing.assert_array_equal(
            (groups[:, None] == groups)[np.ix_(order, order)], other.groups(n)[:, None] == other.groups(n)
        )
        if n > 1:
            assert len(set(zip(groups.tolist(), tree.groups(n - 1).tolist(), strict=True))) == n


def test_groups_lie_together_in_the_order_of_the_leaves() -> None:
    tree = ward_tree(*clusters(30, 5))
    assert sorted(tree.leaves()) == list(range(30))
    for n in range(1, 31):
        along = tree.groups(n)[tree.leaves()]
        assert 1 + int((np.diff(along) != 0).sum()) == n


def test_one_cluster_is_a_tree_and_equal_centroids_are_joined_first() -> None:
    assert ward_tree(np.zeros((1, 3)), np.ones(1)).groups(1).tolist() == [0]
    tree = ward_tree(np.array([[0.0], [3.0], [0.0]]), np.ones(3))
    assert tree.merges[0].tolist() == [0, 2, 0, 2]
    with pytest.raises(ValueError, match="3 clusters make 1 to 3 groups, not 4"):
        tree.groups(4)
