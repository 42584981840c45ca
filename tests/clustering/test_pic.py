"""Power iteration clustering against its plain twin, an example worked out by hand, and what it promises."""

import math
from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from reference import pic as plain
from torch import Tensor
from torch.nn.functional import normalize

from deepcluster.clustering import pic_graph
from deepcluster.clustering.neighbours import nearest_neighbours
from deepcluster.clustering.pic import PIC

ROOM = 10**6  # for all clusters that there are


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sphere(n: int = 140, dim: int = 8) -> Tensor:
    return normalize(torch.randn(n, dim, generator=seeded()))


def mixture(n: int = 140, dim: int = 16, n_components: int = 9, spread: float = 0.15) -> Tensor:
    centres = torch.randn(n_components, dim, generator=seeded(2))
    members = torch.randint(n_components, (n,), generator=seeded(3))
    return normalize(centres[members] + spread * torch.randn(n, dim, generator=seeded(4)))


def copies() -> Tensor:
    """A third of the images stand there two to nine times, spread over the data set."""
    features = mixture(200)
    sources = torch.arange(40).repeat_interleave(torch.arange(40) % 9 + 1)[:160]
    copied = torch.cat([features[40:80], features[sources]])
    return copied[torch.randperm(len(copied), generator=seeded(5))]


def islands() -> Tensor:
    """Groups so far apart that no edge joins them, two of them smaller than an image's neighbourhood."""
    sizes = [60, 40, 20, 4, 2]
    return torch.cat([100.0 * i + 0.2 * torch.randn(s, 3, generator=seeded(i)) for i, s in enumerate(sizes)])


def chain() -> Tensor:
    """On a line, ever farther apart: each climbs to the next, all the way."""
    return (0.05 * 1.02 ** torch.arange(100.0)).cumsum(0)[:, None]


def far_apart() -> Tensor:
    """As whitened features of an untrained network: squared distances about 1.3, weights about e^-32."""
    return sphere(150, 64)


DATA = {f.__name__: f for f in (sphere, mixture, copies, islands, chain, far_apart)}
EVERY_DATA = pytest.mark.parametrize("name", DATA)


@EVERY_DATA
@pytest.mark.parametrize("distribute", [True, False])
def test_clusters_are_those_of_the_plain_loop_in_exact_arithmetic(name: str, distribute: bool) -> None:
    features = DATA[name]()
    options: dict[str, Any] = {"n_neighbours": 2} if name == "chain" else {}
    found = PIC(**options, distribute_singletons=distribute, max_k=ROOM).fit(features, seed=1)
    expected = plain.pic(features.numpy(), n=options.get("n_neighbours", 5), n_iter=60, distribute=distribute)
    assert found.labels.tolist() == expected
    assert 1 < found.k < len(features) or name == "chain"


@EVERY_DATA
def test_with_the_first_neighbour_dropped_they_are_those_of_the_2018_code(name: str) -> None:
    """In float64, as it ran; copies need exact numbers, and so do images far apart, whose weights v would lose."""
    features = DATA[name]()
    number = plain.exact if name in ("copies", "far_apart") else np.float64
    found = PIC(drop_first_neighbour=True, n_iter=30, max_k=ROOM).fit(features, seed=1)
    assert found.labels.tolist() == plain.pic(features.numpy(), n_iter=30, number=number, drop_first=True)


def test_two_hundred_iterations_equal_the_plain_loop() -> None:
    features = mixture(60)
    assert PIC(max_k=ROOM).fit(features, seed=1).labels.tolist() == plain.pic(features.numpy())


@pytest.mark.parametrize("settings", [{"sigma": 0.6}, {"alpha": 0.9}, {"n_neighbours": 3}, {"n_iter": 1}], ids=str)
def test_every_setting_reaches_the_loop(settings: dict[str, Any]) -> None:
    features = sphere()
    base = {"n_iter": 20, "alpha": 0.999}  # with alpha 0.001 the first iteration decides nearly all
    found = PIC(**{**base, **settings}, max_k=ROOM).fit(features, seed=1).labels
    renamed = {{"n_neighbours": "n"}.get(name, name): value for name, value in settings.items()}
    assert found.tolist() == plain.pic(features.numpy(), **{**base, **renamed})
    assert not torch.equal(found, PIC(**base, max_k=ROOM).fit(features, seed=1).labels)


def test_the_height_is_the_value_of_the_plain_power_iteration() -> None:
    """v = c (1 + x) with c from the sum, which is 1; compared where v's digits do not drown it."""
    features = sphere(60)
    indices, distances = nearest_neighbours(features, 5, backend="torch")
    graph = pic_graph.adjacency(indices, distances, 0.2)
    x = pic_graph.height(graph, alpha=0.3, n_iter=50)
    twin = plain.graph_of(plain.neighbours(features.numpy(), 5), 0.2, plain.exact)
    v = [float(value) for value in plain.power_iteration(twin, 0.3, 50, plain.exact)]
    np.testing.assert_allclose((1 + x) / (1 + x).sum(), v, rtol=1e-10)


# Worked out by hand ------------------------------------------------------------------------------------------------

# On a line with one neighbour each and sigma 1:  0 <-> 1 <- 3,  10 <-> 11.5 <- 100
#   W: 0-1: 2 e^-1, 1-3: e^-4, 10-11.5: 2 e^-2.25, 11.5-100: e^-7832 = 0
#   degrees: 0.7358, 0.7541, 0.0183, 0.2108, 0.2108, 0; v is highest where they are
LINE = torch.tensor([0, 1, 3, 10, 11.5, 100])[:, None]


def on_a_line(**settings: Any) -> PIC:
    return PIC(n_neighbours=1, sigma=1.0, max_k=ROOM, **settings)


def test_weights_and_first_iteration_by_hand() -> None:
    indices, distances = nearest_neighbours(LINE, 1, backend="faiss")
    assert indices.flatten().tolist() == [1, 0, 1, 4, 3, 4]
    graph = pic_graph.adjacency(indices, distances, 1.0)
    expected = np.zeros((6, 6))
    for i, j, weight in [(0, 1, 2 * math.exp(-1)), (1, 2, math.exp(-4)), (3, 4, 2 * math.exp(-2.25))]:
        expected[i, j] = expected[j, i] = weight
    np.testing.assert_allclose(graph.toarray(), expected, rtol=1e-15)
    height = pic_graph.height(graph, alpha=0.5, n_iter=1)  # alpha / (1 - alpha) = 1: the degrees
    np.testing.assert_allclose(height, [0.7358, 0.7541, 0.0183, 0.2108, 0.2108, 0], atol=5e-5)


def test_each_row_of_the_graph_has_its_columns_in_order() -> None:
    # neighbours come nearest first; sums of a row are taken in the order of its columns
    indices, distances = nearest_neighbours(sphere(), 5, backend="faiss")
    assert (np.diff(indices, axis=1) < 0).any()
    graph = pic_graph.adjacency(indices, distances, 0.2)
    for start, stop in zip(graph.indptr[:-1], graph.indptr[1:], strict=True):
        assert (np.diff(graph.indices[start:stop]) > 0).all()


def test_equal_neighbours_stay_apart_and_nobody_joins_those_who_were_alone() -> None:
    # 0 and 3 climb to 1. 10 and 11.5 are equally high: two roots, each alone. 100 has no edge: alone.
    # The one neighbour of each of these three was alone itself, so none joins.
    assert on_a_line().fit(LINE, seed=1).labels.tolist() == [0, 0, 0, 1, 2, 3]


def test_an_image_without_an_edge_joins_the_cluster_of_its_neighbour() -> None:
    # With 13.2 (neighbour 11.5, e^-2.89) 11.5 becomes the root of 10 and 13.2; 100's neighbour is 13.2 now.
    features = torch.cat([LINE, torch.tensor([[13.2]])])
    assert on_a_line().fit(features, seed=1).labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    apart = on_a_line(distribute_singletons=False)
    assert apart.fit(features, seed=1).labels.tolist() == [0, 0, 0, 1, 1, 2, 1]


def test_among_equal_gains_the_first_image_of_the_row_counts() -> None:
    # 1 and 2 are equally high and 0 hangs on both by equal weights
    graph = pic_graph.csr_matrix(np.array([[0.0, 1, 1], [1, 0, 0], [1, 0, 0]]))
    assert pic_graph.climb(graph, np.array([0.0, 1, 1])).tolist() == [0, 0, 1]


def test_equal_values_added_up_in_another_order_are_equal() -> None:
    # 0 and 1 are linked, and each has three more neighbours by the same weights, in another order: two roots
    dense = np.zeros((8, 8))
    dense[0, 1:5] = 0.7, 0.2, 0.1, 0.3
    dense[1, 5:8] = 0.1, 0.2, 0.3
    graph = pic_graph.csr_matrix(dense + dense.T)
    degrees = graph @ np.ones(8)
    assert degrees[0] != degrees[1] and degrees[0] == pytest.approx(degrees[1], rel=1e-15)
    value = pic_graph.height(graph, alpha=0.001, n_iter=200)
    assert pic_graph.climb(graph, value).tolist() == [0, 1, 0, 0, 0, 1, 1, 1]


def test_a_chain_is_one_climb_however_long() -> None:
    n = 5000
    path = pic_graph.csr_matrix((np.ones(2 * n), (np.r_[:n, 1 : n + 1], np.r_[1 : n + 1, :n])), shape=(n + 1, n + 1))
    assert (pic_graph.climb(path, np.arange(n + 1.0)) == 0).all()


def test_images_that_are_far_apart_do_not_stay_alone() -> None:
    """Weights of e^-32 are lost in v itself, even in float64; its deviation keeps them."""
    assert (PIC(max_k=ROOM).fit(far_apart(), seed=1).sizes() > 1).all()


# What it promises --------------------------------------------------------------------------------------------------


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads(), faiss.omp_get_max_threads()
    yield
    torch.set_num_threads(before[0])
    faiss.omp_set_num_threads(before[1])


def test_neither_engine_nor_threads_nor_seed_show(threads: None) -> None:
    features = mixture(1200, dim=32, n_components=40)
    found = []
    for n_threads in (1, 2):
        torch.set_num_threads(n_threads)
        faiss.omp_set_num_threads(n_threads)
        found += [PIC(backend=backend).fit(features, seed=n_threads) for backend in ("faiss", "torch")]
    for other in found[1:]:
        assert torch.equal(other.labels, found[0].labels)
        torch.testing.assert_close(other.centroids, found[0].centroids)


@pytest.mark.parametrize("settings", [{}, {"max_k": 7}, {"distribute_singletons": False}], ids=str)
def test_an_assignment_has_its_means_and_their_objective(settings: dict[str, Any]) -> None:
    features = mixture(600, spread=0.5)
    before = features.clone()
    found = PIC(**settings).fit(features, seed=1)
    assert found.labels.unique().tolist() == list(range(found.k))
    means = torch.stack([features[found.labels == c].double().mean(0) for c in range(found.k)])
    torch.testing.assert_close(found.centroids.double(), means, atol=1e-6, rtol=0)
    objective = (features.double() - means[found.labels]).square().sum().item()
    assert found.objective == pytest.approx(objective, rel=1e-5)
    nearest = (features[:50, None].double() - means).square().sum(2).argmin(1)
    assert torch.equal(found.apply(features[:50]), nearest)
    assert torch.equal(features, before)


def test_clusters_beyond_the_room_are_merged_and_counted() -> None:
    features = mixture(600, spread=0.5)
    free = PIC(max_k=ROOM).fit(features, seed=1)
    bound = PIC(max_k=7).fit(features, seed=1)
    assert free.n_merged == 0 and (bound.k, bound.n_merged) == (7, free.k - 7)
    largest = torch.argsort(free.sizes(), descending=True, stable=True)[:7].sort().values
    for new, old in enumerate(largest.tolist()):
        assert (bound.labels[free.labels == old] == new).all()


@pytest.mark.parametrize(
    ("max_k", "n_images", "capacity"),
    [
        (None, 6, 3),
        (None, 96, 48),
        (None, 3000, 500),
        (None, 5000, 625),
        (None, 50_000, 6250),
        (None, 1_281_167, 65_536),
        (30, 5000, 30),
        (30, 20, 20),
    ],
)
def test_the_head_has_room_for_what_is_likely(max_k: int | None, n_images: int, capacity: int) -> None:
    assert PIC(max_k=max_k).capacity(n_images) == capacity


@pytest.mark.parametrize("n_images", [6, 150])
def test_progress_is_told_as_often_as_promised(n_images: int) -> None:
    told: list[tuple[int, int]] = []
    settings = PIC()
    settings.fit(sphere(n_images), seed=1, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, settings.n_updates) for done in range(1, settings.n_updates + 1)]


def test_images_that_are_all_alike_are_clustered() -> None:
    assert PIC().fit(torch.ones(50, 4), seed=1).objective == 0


def test_fewer_images_than_neighbours_are_refused() -> None:
    with pytest.raises(ValueError, match=r"n_neighbours=5 needs at least 6 images, there are 5; lower"):
        PIC().fit(torch.zeros(5, 2), seed=1)


def test_values_that_are_not_finite_are_refused() -> None:
    features = sphere(100)
    features[41, 2] = np.nan
    with pytest.raises(ValueError, match="in 1 of 100 rows, the first in row 41"):
        PIC().fit(features, seed=1)


def test_weights_that_all_vanish_are_refused() -> None:
    with pytest.raises(ValueError, match=r"clustering.sigma=0.2 is too small .* nearest two are 50 apart"):
        PIC().fit(50 * torch.arange(20.0)[:, None], seed=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_neighbours": 0}, "clustering.n_neighbours must be at least 1, got 0"),
        ({"sigma": 0.0}, "clustering.sigma must be above 0, got 0.0"),
        ({"sigma": -0.2}, "clustering.sigma must be above 0"),
        ({"sigma": math.nan}, "clustering.sigma must be above 0"),
        ({"sigma": 1e-200}, "clustering.sigma must be above 0"),
        ({"alpha": 0.0}, "clustering.alpha must be in \\(0, 1\\), got 0.0"),
        ({"alpha": 1.0}, "clustering.alpha must be in"),
        ({"n_iter": 0}, "clustering.n_iter must be at least 1"),
        ({"max_k": 1}, "clustering.max_k must be at least 2"),
        ({"backend": "sklearn"}, "clustering.backend must be one of auto, faiss, torch, got 'sklearn'"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PIC(**settings)
