import numpy as np
import pytest
import torch
from reference import pic as plain
from torch.nn.functional import normalize

from deepcluster.clustering.neighbours import nearest_neighbours

BACKENDS = ["faiss", "torch"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("n_images", [7, 150, 2500])  # fewer than the steps; one search; four
def test_neighbours_are_those_of_the_plain_loop(backend: str, n_images: int) -> None:
    features = normalize(torch.randn(n_images, 6, generator=torch.Generator().manual_seed(1)))
    indices, distances = nearest_neighbours(features, 5, backend=backend)
    some = np.arange(0, n_images, max(1, n_images // 100))
    squares = ((features.double().numpy()[some, None] - features.double().numpy()) ** 2).sum(2)
    squares[np.arange(len(some)), some] = np.inf
    expected = np.argsort(squares, axis=1, kind="stable")[:, :5]
    assert np.array_equal(indices[some], expected)
    np.testing.assert_allclose(distances[some], np.take_along_axis(squares, expected, 1), rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_image_is_never_its_own_neighbour_though_others_are_equal(backend: str) -> None:
    # 1 and 3 are equal, and so are 5 to 13, more than are asked for
    features = torch.tensor([0.0, 4, 2, 4, 9, *[6] * 9])[:, None]
    indices, distances = nearest_neighbours(features, 3, backend=backend)
    assert not (indices == np.arange(14)[:, None]).any()
    assert indices[1, 0] == 3 and indices[3, 0] == 1
    assert distances[1].tolist() == [0, 4, 4] and distances[3].tolist() == [0, 4, 4]
    assert (distances[5:] == 0).all() and (indices[5:] >= 5).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_of_equally_near_images_the_first_are_found_whatever_the_engine(backend: str) -> None:
    # each image eight times: more equal ones than are asked for, and fewer (7 of 8 places) beside others
    images = torch.eye(12).repeat_interleave(8, dim=0)[torch.randperm(96, generator=torch.Generator().manual_seed(1))]
    for n in (3, 5, 10):
        found, _ = nearest_neighbours(images, n, backend=backend)
        squares = (images[:, None] - images).square().sum(2) - 1e-3 * torch.eye(96)  # so that itself comes first
        assert np.array_equal(found, np.argsort(squares.numpy(), axis=1, kind="stable")[:, 1 : n + 1]), n


@pytest.mark.parametrize("backend", BACKENDS)
def test_dropping_the_first_makes_the_second_of_two_equal_images_its_own_neighbour(backend: str) -> None:
    features = torch.tensor([0.0, 5, 5, 6])[:, None]
    indices, distances = nearest_neighbours(features, 2, backend=backend, drop_first=True)
    assert indices.tolist() == [[1, 2], [2, 3], [2, 3], [1, 2]]
    assert distances.tolist() == [[25, 25], [0, 1], [0, 1], [1, 1]]
    assert nearest_neighbours(features, 2, backend=backend)[0].tolist() == [[1, 2], [2, 3], [1, 3], [1, 2]]
    assert [[j for j, _ in row] for row in plain.neighbours(features.numpy(), 2, drop_first=True)] == indices.tolist()


@pytest.mark.parametrize("n_images", [6, 30, 101, 1000])
def test_progress_is_told_as_often_as_promised(n_images: int) -> None:
    told: list[int] = []
    nearest_neighbours(torch.rand(n_images, 3), 5, backend="faiss", progress=lambda: told.append(1))
    assert len(told) == 100
