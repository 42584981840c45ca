import faiss
import numpy as np
import pytest
import torch
from reference import clustering as plain
from torch import Tensor
from torch.nn.functional import normalize

from deepcluster.clustering import faiss_index, kmeans_faiss, kmeans_shares, kmeans_torch
from deepcluster.clustering.backend import choose_backend
from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.kmeans_fit import REDO_SEED_STEP
from deepcluster.clustering.ranks import Ranks
from deepcluster.clustering.share import Share

BACKENDS = ["faiss", "torch"]


def mixture(n: int = 2000, dim: int = 16, n_components: int = 20, spread: float = 0.4) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    centres = torch.randn(n_components, dim, generator=generator)
    members = torch.randint(n_components, (n,), generator=generator)
    return normalize(centres[members] + spread * torch.randn(n, dim, generator=generator))


def with_duplicates() -> Tensor:
    """Half of the images are one image: starts repeat it, so clusters become empty in the iterations."""
    features = mixture()
    features[:1000] = features[0]
    return features


def faiss_at_once(
    features: Tensor,
    k: int,
    n_iter: int,
    seed: int,
    *,
    max_points_per_centroid: int = 10_000_000,
    spherical: bool = False,
    splits: bool = False,
) -> Tensor:
    clustering = faiss.Clustering(features.shape[1], k)
    clustering.niter, clustering.seed = n_iter, seed
    clustering.min_points_per_centroid = 1
    clustering.early_stop_threshold = -1.0  # since 1.14 faiss stops at the first iteration that gains nothing
    clustering.max_points_per_centroid = max_points_per_centroid
    clustering.spherical = spherical
    clustering.train(features.numpy(), faiss.IndexFlatL2(features.shape[1]))
    n_splits = sum(clustering.iteration_stats.at(i).nsplit for i in range(n_iter))
    assert splits == (n_splits > 0)
    return torch.from_numpy(faiss.vector_to_array(clustering.centroids).reshape(k, -1))


def test_faiss_one_iteration_at_a_time_equals_all_at_once() -> None:
    features = mixture()
    stepped = kmeans_faiss.lloyd(features, 50, n_iter=20, seed=5)
    assert torch.equal(stepped, faiss_at_once(features, 50, 20, 5))


def test_faiss_steps_equal_all_at_once_when_clusters_become_empty() -> None:
    features = with_duplicates()
    stepped = kmeans_faiss.lloyd(features, 100, n_iter=20, seed=5)
    assert torch.equal(stepped, faiss_at_once(features, 100, 20, 5, splits=True))


def test_faiss_steps_equal_all_at_once_on_a_sample_and_on_the_sphere() -> None:
    features = mixture()
    sampled = kmeans_faiss.lloyd(features, 30, n_iter=10, seed=5, max_points_per_centroid=20)
    assert torch.equal(sampled, faiss_at_once(features, 30, 10, 5, max_points_per_centroid=20))
    spherical = kmeans_faiss.lloyd(features, 30, n_iter=10, seed=5, spherical=True)
    torch.testing.assert_close(spherical, faiss_at_once(features, 30, 10, 5, spherical=True), atol=1e-5, rtol=0)


def test_faiss_iterates_on_all_images_by_default() -> None:
    features = mixture()  # 2000 images for 2 clusters: faiss's own default would take 512 of them
    assert torch.equal(kmeans_faiss.lloyd(features, 2, n_iter=3, seed=5), faiss_at_once(features, 2, 3, 5))


def test_torch_backend_equals_the_plain_twin() -> None:
    features = mixture()
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(5))
    expected, labels = plain.lloyd(features.double().numpy(), features[order[:12]].double().numpy(), 10)
    found = KMeans(k=12, n_iter=10, backend="torch").fit(features, seed=5)
    torch.testing.assert_close(found.centroids.double(), torch.from_numpy(expected), atol=1e-5, rtol=0)
    assert torch.equal(found.labels, torch.from_numpy(labels))


def test_torch_backend_iterates_on_the_sampled_images_only() -> None:
    features = mixture()
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(5))
    sample = features[order[: 12 * 9]].double().numpy()
    expected, _ = plain.lloyd(sample, sample[:12], 10)
    share = Share(features, len(features), Ranks(), torch.device("cpu"))
    centroids = kmeans_shares.lloyd(share, 12, engine="torch", n_iter=10, seed=5, max_points_per_centroid=9)
    torch.testing.assert_close(centroids.double(), torch.from_numpy(expected), atol=1e-5, rtol=0)


def test_backends_reach_the_same_objective() -> None:
    features = mixture(n=4000, n_components=200)
    objectives = [KMeans(k=100, backend=backend).fit(features, seed=1).objective for backend in BACKENDS]
    assert objectives[0] == pytest.approx(objectives[1], rel=0.02)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_image_is_in_the_cluster_of_its_nearest_centroid(backend: str) -> None:
    features = mixture()
    found = KMeans(k=20, backend=backend).fit(features, seed=1)
    assert found.n_repaired == 0
    nearest = plain.nearest(features.double().numpy(), found.centroids.double().numpy())
    assert torch.equal(found.labels, torch.from_numpy(nearest))
    differences = features.double() - found.centroids.double()[found.labels]
    assert found.objective == pytest.approx(differences.square().sum().item(), rel=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_seed_decides(backend: str) -> None:
    features, kmeans = mixture(), KMeans(k=30, n_iter=5, backend=backend)
    one, same, other = (kmeans.fit(features, seed=seed) for seed in (2**62 + 7, 2**62 + 7, 8))
    assert torch.equal(one.labels, same.labels) and torch.equal(one.centroids, same.centroids)
    assert one.objective == same.objective
    assert not torch.equal(one.labels, other.labels)


@pytest.mark.parametrize("backend", BACKENDS)
def test_neither_the_runs_precision_nor_autocast_changes_the_assignment(backend: str) -> None:
    features, kmeans = mixture(n=3000, dim=64, spread=1.0), KMeans(k=60, n_iter=5, backend=backend)
    expected = kmeans.fit(features, seed=1)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = kmeans.fit(features, seed=1)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.equal(found.labels, expected.labels)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_best_of_several_starts_is_kept(backend: str) -> None:
    features = mixture()
    best = KMeans(k=25, n_iter=3, n_redo=4, backend=backend).fit(features, seed=1)
    starts = [1 + redo * 15_486_557 for redo in range(4)]
    singles = [KMeans(k=25, n_iter=3, backend=backend).fit(features, seed=seed).objective for seed in starts]
    assert len(set(singles)) == 4 and singles[0] > min(singles)
    assert best.objective == min(singles)


@pytest.mark.parametrize("backend", BACKENDS)
def test_spherical_centroids_have_unit_length(backend: str) -> None:
    found = KMeans(k=25, spherical=True, backend=backend).fit(mixture(), seed=1)
    torch.testing.assert_close(found.centroids.norm(dim=1), torch.ones(25))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("spherical", [False, True])
def test_every_cluster_is_used_though_most_images_are_alike(backend: str, spherical: bool) -> None:
    features = 2 * mixture(n=60)
    features[5:] = features[0]
    found = KMeans(k=40, n_iter=3, spherical=spherical, backend=backend).fit(features, seed=1)
    assert found.n_repaired > 0
    assert bool((found.sizes() > 0).all())
    if spherical:
        torch.testing.assert_close(found.centroids.norm(dim=1), torch.ones(40))
    differences = features.double() - found.centroids.double()[found.labels]
    assert found.objective == pytest.approx(differences.square().sum().item(), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_squeezed_clusters_are_left_out_and_the_rest_is_as_k_means_left_it(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = mixture(300, 4, 5)
    centroids = features[:8].clone()
    centroids[[2, 5]] += 1e3  # nobody is nearest to these
    for engine in (kmeans_faiss, kmeans_shares):
        monkeypatch.setattr(engine, "lloyd", lambda *args, **kwargs: centroids)
    squeezed = KMeans(k=8, empty="squeeze", backend=backend).fit(features, seed=0)
    repaired = KMeans(k=8, backend=backend).fit(features, seed=0)
    assert (squeezed.k, squeezed.n_squeezed, squeezed.n_outputs, squeezed.n_repaired) == (6, 2, 8, 0)
    assert (repaired.k, repaired.n_squeezed, repaired.n_outputs, repaired.n_repaired) == (8, 0, 8, 2)
    nearest = plain.nearest(features.double().numpy(), centroids.double().numpy())
    assert squeezed.labels.tolist() == plain.images_lists_labels(nearest.tolist(), 8)[0]
    distances = ((features - centroids[torch.from_numpy(nearest)]) ** 2).sum()
    assert squeezed.objective == pytest.approx(distances.item(), rel=1e-5)
    assert torch.equal(squeezed.apply(features), squeezed.labels)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("spherical", [False, True])
def test_a_warm_start_iterates_from_the_means_under_the_last_labels(backend: str, spherical: bool) -> None:
    features = mixture()
    labels = torch.randint(12, (len(features),), generator=torch.Generator().manual_seed(8))
    rows = features.double().numpy()
    start = np.stack([rows[labels == cluster].mean(axis=0) for cluster in range(12)])
    kmeans = KMeans(k=12, n_iter=5, start="labels", spherical=spherical, backend=backend)
    found = kmeans.fit(features, seed=5, start=labels)
    expected = (plain.spherical_lloyd if spherical else plain.lloyd)(rows, start, 5)
    torch.testing.assert_close(found.centroids.double(), torch.from_numpy(expected[0]), atol=1e-5, rtol=0)
    assert torch.equal(found.labels, torch.from_numpy(expected[1]))


@pytest.mark.parametrize("backend", BACKENDS)
def test_clusters_without_a_last_label_start_at_the_images_that_the_seed_draws(backend: str) -> None:
    features = mixture()
    nothing = torch.full((len(features),), -1)
    cold = KMeans(k=12, n_iter=5, backend=backend).fit(features, seed=5)
    warm = KMeans(k=12, n_iter=5, backend=backend, start="labels")
    for found in (warm.fit(features, seed=5, start=nothing), warm.fit(features, seed=5)):
        assert torch.equal(found.labels, cold.labels) and torch.equal(found.centroids, cold.centroids)


@pytest.mark.parametrize("backend", BACKENDS)
def test_last_labels_are_used_only_where_the_settings_say_so(backend: str) -> None:
    features, kmeans = mixture(), KMeans(k=12, n_iter=5, n_redo=2, backend=backend)
    labels = torch.arange(len(features)) % 12
    assert torch.equal(kmeans.fit(features, seed=5, start=labels).labels, kmeans.fit(features, seed=5).labels)
    with pytest.raises(ValueError, match=r"in 0..9, or -1, for each of 2000 images, got 2000 labels in 0..11"):
        KMeans(k=10, start="labels", backend=backend).fit(features, seed=5, start=labels)


@pytest.mark.parametrize("backend", BACKENDS)
def test_of_several_starts_only_the_first_is_at_the_last_labels(backend: str) -> None:
    features, bad = mixture(), torch.arange(2000) % 12  # whose means are all alike
    warm = KMeans(k=12, n_iter=1, n_redo=2, start="labels", backend=backend).fit(features, seed=5, start=bad)
    second = KMeans(k=12, n_iter=1, backend=backend).fit(features, seed=5 + REDO_SEED_STEP)
    assert torch.equal(warm.labels, second.labels)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_warm_start_ignores_the_basis_of_the_features(backend: str) -> None:
    features = mixture()
    rotation = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(2))).Q
    kmeans = KMeans(k=12, n_iter=3, start="labels", backend=backend)
    labels = kmeans.fit(features, seed=5).labels
    assert torch.equal(
        kmeans.fit(features, seed=6, start=labels).labels, kmeans.fit(features @ rotation, seed=7, start=labels).labels
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_v2s_k_means_equals_its_plain_twin_from_the_same_start(backend: str) -> None:
    features = normalize(mixture(n=400) + torch.eye(16)[0])  # all on one side, so starts on the other stay empty
    rows = features.double().numpy()
    start = np.concatenate([rows[:25], -rows[25:30]])
    centroids, labels = plain.spherical_lloyd(rows, start, 10)
    share = Share(features, 400, Ranks(), torch.device("cpu"))
    found = kmeans_shares.assign(
        share,
        kmeans_shares.lloyd(
            share,
            30,
            engine=backend,
            n_iter=10,
            seed=1,
            spherical=True,
            start=torch.from_numpy(start).float(),
            keep_empty=True,
        ),
        empty="keep",
        spherical=True,
    )
    assert torch.equal(found.labels, torch.from_numpy(labels)) and found.n_unused == 30 - len(np.unique(labels)) >= 5
    torch.testing.assert_close(found.centroids.double(), torch.from_numpy(centroids), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.centroids[25:], -features[25:30])


@pytest.mark.parametrize("backend", BACKENDS)
def test_v2s_k_means_starts_at_random_images_and_keeps_what_is_empty(backend: str) -> None:
    features = mixture(n=400)
    features[200:] = features[0]  # copies among the starts: all but one of them are empty in every iteration
    starts = (kmeans_faiss if backend == "faiss" else kmeans_torch).draw(400, 40, 5, None)[0]
    found = KMeans(k=40, spherical=True, n_iter=10, empty="keep", backend=backend).fit(features, seed=5)
    is_empty = found.sizes() == 0
    assert (found.k, found.n_unused, found.n_repaired) == (40, int(is_empty.sum()), 0) and found.n_unused > 10
    torch.testing.assert_close(found.centroids[is_empty], features[starts][is_empty])


@pytest.mark.parametrize("backend", BACKENDS)
def test_as_many_clusters_as_images_gives_each_its_own(backend: str) -> None:
    found = KMeans(k=30, backend=backend).fit(torch.zeros(30, 4), seed=1)
    assert found.labels.sort().values.tolist() == list(range(30))
    assert found.objective == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_progress_counts_the_iterations_of_all_starts(backend: str) -> None:
    told: list[tuple[int, int]] = []
    kmeans = KMeans(k=5, n_iter=3, n_redo=2, backend=backend)
    kmeans.fit(mixture(n=100), seed=1, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 6) for done in range(1, 7)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_features_stay_as_they_are(backend: str) -> None:
    features = with_duplicates()
    before = features.clone()
    KMeans(k=100, n_iter=2, spherical=True, backend=backend).fit(features, seed=1)
    assert torch.equal(features, before)


def test_means_lose_no_digits_to_the_number_of_images() -> None:
    features = 1000 + torch.randn(40_000, 2, generator=torch.Generator().manual_seed(0))
    means, sizes = kmeans_torch.means(features, torch.zeros(40_000, dtype=torch.int64), 1)
    assert sizes.tolist() == [40_000]
    torch.testing.assert_close(means[0], features.double().mean(0).float(), atol=0, rtol=1e-7)


def test_means_of_an_empty_cluster_are_0_until_it_is_filled() -> None:
    features, labels = torch.tensor([[1.0, 4.0], [3.0, 8.0], [9.0, 0.0]]), torch.tensor([0, 0, 2])
    means, sizes = kmeans_torch.means(features, labels, 3)
    assert means.tolist() == [[2.0, 6.0], [0.0, 0.0], [9.0, 0.0]] and sizes.tolist() == [2, 0, 1]
    assert kmeans_torch.split_into_empty(means, sizes)[1].tolist() == pytest.approx([2.0, 6.0], rel=0.002)


def test_an_empty_cluster_takes_half_of_the_largest_in_the_iterations() -> None:
    # cluster 1 is empty, 2 is the largest: both become copies of it, apart by 2/1024 in opposite directions
    centroids, sizes = torch.tensor([[8.0, 8.0], [0.0, 0.0], [1.0, -2.0]]), torch.tensor([3, 0, 9])
    near, far = 1 - 1 / 1024, 1 + 1 / 1024
    expected = torch.tensor([[8.0, 8.0], [far, -2 * near], [near, -2 * far]])
    torch.testing.assert_close(kmeans_torch.split_into_empty(centroids, sizes), expected, atol=0, rtol=0)


def test_two_empty_clusters_share_what_is_largest_after_the_first_split() -> None:
    # 9 -> 5 + 4, then 8 is the largest: one empty cluster beside each populated one
    centroids, sizes = torch.tensor([[1.0], [0.0], [5.0], [0.0]]), torch.tensor([8, 0, 9, 0])
    split = kmeans_torch.split_into_empty(centroids, sizes).flatten().round().tolist()
    assert split == [1, 5, 5, 1]


def test_fewer_images_than_clusters_are_refused() -> None:
    with pytest.raises(ValueError, match=r"k=50 needs at least that many images, there are 49; lower"):
        KMeans(k=50).fit(torch.zeros(49, 2), seed=1)


def test_values_that_are_not_finite_are_refused() -> None:
    features = mixture(n=100)
    features[41, 2] = np.nan
    with pytest.raises(ValueError, match="in 1 of 100 rows, the first in row 41"):
        KMeans(k=5).fit(features, seed=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 1}, "clustering.k must be at least 2, got 1"),
        ({"n_iter": 0}, "clustering.n_iter must be at least 1"),
        ({"n_redo": 0}, "clustering.n_redo must be at least 1"),
        ({"max_points_per_centroid": 0}, "clustering.max_points_per_centroid must be at least 1"),
        ({"backend": "sklearn"}, "clustering.backend must be one of auto, faiss, torch, got 'sklearn'"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KMeans(**settings)  # type: ignore[arg-type]  # settings of several types


def test_faiss_serves_cpus_and_torch_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(faiss_index, "n_gpus", lambda: 0)
    assert choose_backend("auto", "cpu")[0] == "faiss"
    assert choose_backend("auto", "cuda")[0] == "torch"
    assert choose_backend("auto", "mps")[0] == "torch"
    assert choose_backend("torch", "cpu")[0] == "torch"
    with pytest.raises(ValueError, match=r"faiss sees none; set clustering.backend=torch"):
        choose_backend("faiss", "cuda")
    monkeypatch.setattr(faiss_index, "n_gpus", lambda: 2)
    assert choose_backend("faiss", "cuda")[0] == "faiss"
    assert choose_backend("auto", "cuda")[0] == "torch"  # the faster of the two there


def test_torch_stands_in_on_macos_and_where_faiss_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert choose_backend("auto", "cpu")[0] == "torch"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert choose_backend("auto", "cpu") == ("torch", "faiss is not installed")
    with pytest.raises(ValueError, match=r"faiss is not installed; set clustering.backend=torch"):
        choose_backend("faiss", "cpu")
