"""Spectral clustering: coordinates equal a dense reference, clusters follow what is connected, whatever its shape."""

import numpy as np
import pytest
import torch
from torch import Tensor

from deepcluster.clustering import diffusion
from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.metrics import nmi
from deepcluster.clustering.neighbours import Floats, Indices, nearest_neighbours
from deepcluster.clustering.spectral import Spectral, by_graph


def rings(n: int, noise: float = 0.05) -> tuple[Tensor, Tensor]:
    """Points on two rings, one inside the other: (2 n, 2) and their ring."""
    generator = torch.Generator().manual_seed(0)
    angle = 2 * torch.pi * torch.arange(2 * n) / (2 * n)
    ring = torch.arange(2 * n) % 2
    points = (1.0 + ring)[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)
    return points + noise * torch.randn(2 * n, 2, generator=generator), ring


def dense_coordinates(rows: Tensor, n: int, n_coordinates: int, time: float) -> Tensor:
    """The definition, step by step: neighbours by sorting, a full matrix, all eigenvectors."""
    x = rows.double()
    distances = torch.cdist(x, x).fill_diagonal_(float("inf"))
    a = torch.zeros(len(x), len(x), dtype=torch.float64)
    for i, row in enumerate(distances):
        a[i, row.argsort()[:n]] += 1
    a = a + a.T
    degree = a.sum(dim=1)
    walk = a / degree[:, None]  # the random walk itself, not its symmetric form
    values, vectors = torch.linalg.eig(walk)
    order = values.real.argsort(descending=True)[:n_coordinates]
    psi = vectors.real[:, order]
    psi /= (degree[:, None] * psi.square()).sum(dim=0).sqrt()  # of length 1 in the walk's own measure
    return torch.nn.functional.normalize(psi * values.real[order].clamp_min(0) ** time).float()


def test_coordinates_are_the_random_walks_eigenvectors() -> None:
    rows = torch.randn(80, 5, generator=torch.Generator().manual_seed(1))
    ours = diffusion.coordinates(rows, n_neighbours=6, n_coordinates=8, time=3, engine="torch")
    expected = dense_coordinates(rows, 6, 8, 3)
    assert torch.allclose(ours @ ours.T, expected @ expected.T, atol=1e-4)  # signs are free


def test_lanczos_finds_what_a_full_decomposition_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randn(400, 5, generator=torch.Generator().manual_seed(2))
    settings = {"n_neighbours": 8, "n_coordinates": 10, "time": 4.0, "engine": "torch"}
    iterated = diffusion.coordinates(rows, **settings)  # type: ignore[arg-type]
    monkeypatch.setattr(diffusion, "DENSE", 1000)
    full = diffusion.coordinates(rows, **settings)  # type: ignore[arg-type]
    assert torch.allclose(iterated @ iterated.T, full @ full.T, atol=1e-3)


def test_eigenvectors_of_many_near_copies_that_take_too_many_restarts_are_fewer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = torch.Generator().manual_seed(3)
    scenes = torch.randn(60, 8, generator=generator).repeat_interleave(20, 0)
    rows = scenes + 1e-3 * torch.randn(1200, 8, generator=generator)
    walk = diffusion.walk_of(diffusion.adjacency(nearest_neighbours(rows, 12, backend="torch")[0]))[0]
    whole, _ = diffusion.leading_eigenvectors(walk, 64)
    monkeypatch.setattr(diffusion, "RESTARTS", 2)
    values, vectors = diffusion.leading_eigenvectors(walk, 64)
    assert 2 <= len(values) < len(whole) and vectors.shape == (1200, len(values))
    assert np.allclose(walk @ vectors, vectors * values, atol=1e-3)


def test_several_labelings_of_the_same_rows_need_one_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, _ = rings(100)
    alone = [Spectral(k=5).fit(rows.clone(), seed=seed).labels for seed in (1, 2)]
    searched: list[int] = []

    def search(features: Tensor, n: int, *, backend: str) -> tuple[Indices, Floats]:
        searched.append(n)
        return nearest_neighbours(features, n, backend=backend)

    monkeypatch.setattr(diffusion, "nearest_neighbours", search)
    together = [Spectral(k=5).fit(rows, seed=seed).labels for seed in (1, 2)]
    assert searched == [10] and all(map(torch.equal, together, alone))
    Spectral(k=5, n_neighbours=7).fit(rows, seed=1)
    assert searched == [10, 7]


def test_rings_that_k_means_cuts_across_are_found() -> None:
    rows, ring = rings(300)
    spectral = Spectral(k=2, n_neighbours=8, n_coordinates=2, n_redo=10).fit(rows, seed=1)
    assert nmi(spectral.labels, ring) == pytest.approx(1.0)
    assert nmi(KMeans(k=2).fit(rows, seed=1).labels, ring) < 0.1


def test_centroids_and_objective_are_those_of_the_rows() -> None:
    rows, _ = rings(100)
    found = Spectral(k=4).fit(rows, seed=1)
    means = torch.stack([rows[found.labels == k].mean(dim=0) for k in range(4)])
    assert torch.allclose(found.centroids, means, atol=1e-5)
    assert found.objective == pytest.approx(float((rows - means[found.labels]).square().sum()), rel=1e-5)


def test_the_seed_alone_decides_and_the_scale_of_rows_does_not() -> None:
    rows, _ = rings(200)
    first = Spectral(k=7).fit(rows, seed=3)
    assert torch.equal(first.labels, Spectral(k=7).fit(1000 * rows, seed=3).labels)
    assert not torch.equal(first.labels, Spectral(k=7).fit(rows, seed=4).labels)


def test_parts_of_the_graph_that_nothing_joins_and_equal_rows_are_clustered() -> None:
    generator = torch.Generator().manual_seed(0)
    apart = torch.cat([torch.randn(40, 3, generator=generator) + 100 * group for group in range(3)])
    found = Spectral(k=3, n_neighbours=5).fit(apart, seed=1)
    assert nmi(found.labels, torch.arange(120) // 40) == pytest.approx(1.0)
    equal = Spectral(k=3, n_neighbours=5).fit(torch.ones(60, 4), seed=1)
    assert sorted(set(equal.labels.tolist())) == [0, 1, 2]


def test_too_few_images_are_refused_by_the_key() -> None:
    with pytest.raises(ValueError, match=r"clustering\.n_neighbours=10 needs at least 11 images, there are 8"):
        Spectral(k=2).check(8)


def test_the_settings_of_k_means_are_kept() -> None:
    made = by_graph(KMeans(k=9, n_redo=3, empty="squeeze"), 7)
    assert (made.kind, made.k, made.n_redo, made.empty, made.n_neighbours) == ("spectral", 9, 3, "squeeze", 7)
    assert by_graph(KMeans(k=9, empty="keep"), 7).empty == "repair"  # there would be no centroid to keep
    with pytest.raises(ValueError, match=r"clustering\.empty=keep .* set clustering\.empty=repair"):
        Spectral(k=9, empty="keep").check(100)
    graph = 100 * (100 + 1.3 * (2 * 64 + 20) ** 2)  # all distances, then Lanczos vectors
    assert np.isclose(made.distances(100), graph + KMeans(k=9, n_redo=3).distances(100))
