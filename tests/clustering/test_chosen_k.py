import pytest
import torch

from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.pic import PIC
from deepcluster.clustering.sinkhorn_clustering import Sinkhorn


def test_a_list_of_k_makes_one_labeling_of_each() -> None:
    both = KMeans(k=[50, 100], n_iter=7, n_redo=2)
    assert both.labelings() == [KMeans(k=50, n_iter=7, n_redo=2), KMeans(k=100, n_iter=7, n_redo=2)]
    assert KMeans(k=[50, 100], n_labelings=3).labelings() == KMeans(k=[50, 100]).labelings()


def test_several_labelings_have_the_same_k() -> None:
    assert KMeans(k=50, n_labelings=3, spherical=True).labelings() == 3 * [KMeans(k=50, spherical=True)]


def test_one_labeling_is_the_clustering_itself() -> None:
    assert KMeans(k=50).labelings() == [KMeans(k=50)] and KMeans(k=[50]).labelings() == [KMeans(k=50)]
    assert PIC().labelings() == [PIC()]


def test_several_labelings_together_cost_their_sum_and_need_what_each_needs() -> None:
    settings = KMeans(k=[20, 70, 30], n_redo=2)
    parts = settings.labelings()
    assert settings.distances(1000) == sum(part.distances(1000) for part in parts)
    scores = Sinkhorn(k=[20, 70, 30])  # rows of 120 numbers, of which each labeling takes its own
    assert 120 * scores.distances(1000) == sum(part.ks[0] * part.distances(1000) for part in scores.labelings())
    assert settings.n_updates == sum(part.n_updates for part in parts)
    assert settings.capacity(1000) == 20
    settings.check(70)
    with pytest.raises(ValueError, match=r"clustering.k=70 needs at least that many images, there are 69; lower"):
        settings.check(69)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"k": 50}, "K = 50, torch"),
        ({"k": [50, 100]}, "K = 50, 100, torch"),
        ({"k": 50, "n_labelings": 4}, "4 x K = 50, torch"),
    ],
)
def test_the_start_of_a_run_tells_all_k(settings: dict[str, object], words: str) -> None:
    assert KMeans(backend="torch", **settings).describe("cpu").startswith(words)  # type: ignore[arg-type]


def test_several_labelings_are_fitted_one_by_one() -> None:
    with pytest.raises(ValueError, match=r"4 x K = 2 are 4 labelings; fit each of labelings\(\) by itself"):
        KMeans(k=2, n_labelings=4).fit(torch.zeros(9, 2), seed=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": []}, r"clustering.k must be an integer, or a list of integers .*; got \[\]"),
        ({"k": "a"}, "clustering.k must be an integer, or a list .*; got 'a'"),
        ({"k": 2.5}, "clustering.k must be an integer, or a list .*; got 2.5"),
        ({"k": None}, "clustering.k must be an integer, or a list .*; got None"),
        ({"k": [50, "a"]}, r"clustering.k must be .*; got \[50, 'a'\]"),
        ({"k": [1]}, r"clustering.k must be at least 2, got \[1\]"),
        ({"n_labelings": 0}, "clustering.n_labelings must be at least 1"),
        ({"start": "centroids"}, r"clustering.start must be one of images, kmeans\+\+, labels, got 'centroids'"),
    ],
)
def test_bad_numbers_of_clusters_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KMeans(**settings)  # type: ignore[arg-type]
