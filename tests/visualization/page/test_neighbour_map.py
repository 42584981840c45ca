"""The map: weights as UMAP defines them, neighbourhoods kept, no case in which points are lost."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.manifold import trustworthiness

from deepcluster.clustering.neighbours import nearest_neighbours
from deepcluster.visualization.page.neighbour_map import graph, layout


def neighbours(rows: NDArray[np.float32], n: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    nearest, squared = nearest_neighbours(torch.from_numpy(rows), n, backend="torch")
    return nearest, np.sqrt(squared)


def test_weights_of_an_image_sum_to_log2_n_before_both_directions_are_joined() -> None:
    angles = 2 * np.pi * np.arange(60) / 60  # on a circle both directions of an edge have the same weight w
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    nearest, distances = neighbours(circle, 8)
    joined = graph(nearest, distances).toarray()
    assert np.array_equal(joined, joined.T) and (joined.diagonal() == 0).all()
    directed = 1 - np.sqrt(1 - joined)  # joined = w + w - w w
    np.testing.assert_allclose(directed.sum(axis=1), np.log2(8), rtol=1e-3)
    assert joined[0, 1] == pytest.approx(1) and joined[0, 1] > joined[0, 2] > joined[0, 3] > joined[0, 4] > 0


def test_neighbours_in_the_plane_are_those_of_the_features() -> None:
    rows = load_digits(return_X_y=True)[0][:600].astype(np.float32)
    centred = rows - rows.mean(axis=0)
    pca = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    nearest, distances = neighbours(rows, 12)
    points = layout(nearest, distances, pca, seed=1)
    # t-SNE of scikit-learn reaches .992 here
    assert trustworthiness(rows, points, n_neighbors=10) > 0.96 > trustworthiness(rows, pca, n_neighbors=10) + 0.1
    assert np.array_equal(points, layout(nearest, distances, pca, seed=1))
    assert not np.array_equal(points, layout(nearest, distances, pca, seed=2))


@pytest.mark.parametrize("n", [2, 3, 30])
def test_equal_and_few_images_have_places_too(n: int) -> None:
    rows = np.ones((n, 4), dtype=np.float32)
    nearest, distances = neighbours(rows, min(12, n - 1))
    for n_start in (1, 2):
        points = layout(nearest, distances, rows[:, :n_start], seed=1)
        assert points.shape == (n, 2) and np.isfinite(points).all()


def test_images_that_start_on_a_line_leave_it() -> None:
    rows = np.arange(30, dtype=np.float32)[:, None]
    nearest, distances = neighbours(rows, 5)
    points = layout(nearest, distances, rows, seed=1)
    assert trustworthiness(rows, points, n_neighbors=5) > 0.9 and points.std(axis=0).min() > 0.05
