"""clustering.k=auto: planted groups are found, chance is not taken for groups, and the measure is the plain one."""

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from deepcluster.clustering import k_scan
from deepcluster.clustering.k_by_number import clusters_of_half, k_by_number, most_k
from deepcluster.clustering.k_scan import Scan, pair_agreement, scan
from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.spectral import Spectral


def blobs(k: int, *, n: int = 1200, dim: int = 12, spread: float = 0.25, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(k, dim, generator=draw)
    return centres[torch.arange(n) % k] + spread * torch.randn(n, dim, generator=draw)


def scanned(rows: Tensor, clustering: KMeans | None = None, *, n: int | None = None, seed: int = 1) -> Scan:
    return scan(rows, clustering or KMeans(k=2), n=n or len(rows), seed=seed)


@pytest.mark.parametrize(("k", "seed"), itertools.product((3, 7, 16, 29), (1, 2)))
def test_planted_groups_are_found_and_become_k(k: int, seed: int) -> None:
    found = scanned(blobs(k, seed=seed), seed=seed)
    assert found.groups == found.k == k and found.best > 0.99
    assert found.told().startswith(f"sure: two halves of the images, clustered apart, find the same {k} groups")


def test_planted_groups_are_found_by_their_graph_too() -> None:
    found = scanned(blobs(7, dim=16), Spectral(k=2))
    assert found.groups == found.k == 7


def test_rows_without_groups_get_the_k_of_their_number() -> None:
    for clustering in (KMeans(k=2), Spectral(k=2)):
        found = scanned(torch.randn(1000, 16, generator=torch.Generator().manual_seed(3)), clustering)
        assert max(found.means) < 0.1 and not found.stands_out
        assert found.k == k_by_number(1000) == 35
        assert found.told().startswith("not sure: 1.2 times the root of 1,000 images, as two halves")


def kinds_of_poses(n_poses: int) -> Tensor:
    """Three kinds, far apart, of so many poses in all, which are near to each other but as clear."""
    draw = torch.Generator().manual_seed(5)
    kinds, poses = 20 * torch.randn(3, 8, generator=draw), torch.randn(n_poses, 8, generator=draw)
    which = torch.arange(1800) % n_poses
    return kinds[which % 3] + poses[which] + 0.1 * torch.randn(1800, 8, generator=draw)


def test_of_groups_in_groups_the_finer_ones_count() -> None:
    found = scanned(kinds_of_poses(30))
    assert found.gaps[found.ks.index(3)] > found.gaps[found.ks.index(30)] > k_scan.GAP
    assert found.groups == found.k == 30


def test_groups_that_hold_finer_ones_than_can_be_seen_do_not_become_k() -> None:
    found = scanned(kinds_of_poses(90))
    assert found.groups == 3 and found.best > 0.99 and found.within > 0.5
    assert found.k == k_by_number(1800) == 50


def test_cuts_of_a_continuum_do_not_become_k() -> None:
    """A line is cut into the same two or three pieces again and again."""
    line = torch.randn(1000, 2, generator=torch.Generator().manual_seed(1)) * torch.tensor([10.0, 0.1])
    assert scanned(line).k == k_by_number(1000)


def test_the_same_seed_gives_the_same_scan_and_scaling_the_rows_changes_nothing() -> None:
    rows = blobs(5, n=300, spread=1.0)
    assert scanned(rows) == scanned(rows) != scanned(rows, seed=2)
    assert scanned(4 * rows).agreement == scanned(rows).agreement


def test_too_few_rows_are_not_scanned() -> None:
    found = scanned(blobs(3, n=40))
    assert found.ks == [] and found.k == k_by_number(40) == 8
    assert found.told() == "not sure: 1.2 times the root of 40 images, too few for a scan"
    assert scanned(blobs(2, n=64)).ks == [2, 3, 4]


@pytest.mark.parametrize(("n", "k"), [(4, 2), (30, 7), (300, 20), (1500, 45), (20_000, 170), (10**6, 1000)])
def test_k_is_about_1_2_times_the_root_of_n(n: int, k: int) -> None:
    assert k_by_number(n) == k


def test_k_never_passes_what_was_told_before_the_scan() -> None:
    for n in (2, 10, 63, 64, 500, 2000, 5000, 10**6):
        assert 2 <= k_by_number(n) <= most_k(n) and clusters_of_half(n) <= most_k(n) <= max(2, n // 2)


def curve(*of_each_k: tuple[float, float], within: float = 0.0) -> Scan:
    """Of K from 2: agreement and gap."""
    means, gaps = zip(*of_each_k, strict=True)
    ks = list(range(2, 2 + len(means)))
    return Scan(n=1500, ks=ks, agreement=[[mean] for mean in means], gaps=list(gaps), within=within)


def test_the_finest_number_at_a_gap_counts_else_the_finest_of_the_best() -> None:
    assert curve((1.0, 9.0), (0.5, 1.0), (0.95, 2.5), (0.9, 1.0)).k == 4
    assert curve((0.5, 9.0), (0.996, 1.5), (1.0, 1.5), (0.9, 1.0)).groups == 4
    assert curve((0.5, 9.0), (1.0, 1.5), (0.996, 1.5), (0.9, 1.0)).groups == 4
    unclear = curve((0.5, 9.0), (1.0, 1.5), (0.99, 1.5), (0.9, 1.0))
    assert (unclear.groups, unclear.k) == (3, 45)
    assert unclear.told() == (
        "fairly sure that no number stands out, so 1.2 times the root of 1,500 images: two halves of the images, "
        "clustered apart, agree most on 3 groups (1.00 of 1), and at K = 45 by 0.90"
    )
    assert curve((1.0, 9.0), (0.5, 1.0), within=0.6).k == 45


def test_each_k_is_tried_up_to_the_limit_then_some() -> None:
    ks = k_scan._tried(256)
    assert ks[:39] == list(range(2, 41)) and ks[-1] == 256 and ks == sorted(set(ks))
    assert all(b / a < 1.12 for a, b in itertools.pairwise(ks[38:]))


def plain_agreement(a: NDArray[np.int64], b: NDArray[np.int64], cells: NDArray[np.int64]) -> float:
    """Counted pair by pair."""
    together = np.zeros(4)  # pairs of one cell: all; in one group of a, of b, of both
    chance = 0.0
    for cell in np.unique(cells):
        pairs = list(itertools.combinations(np.flatnonzero(cells == cell), 2))
        of_a, of_b = (sum(labels[i] == labels[j] for i, j in pairs) for labels in (a, b))
        both = sum(a[i] == a[j] and b[i] == b[j] for i, j in pairs)
        together += len(pairs), of_a, of_b, both
        chance += of_a * of_b / len(pairs) if pairs else 0
    return float((together[3] - chance) / ((together[1] + together[2]) / 2 - chance))


def test_agreement_is_the_adjusted_rand_index_and_within_cells_that_of_their_pairs() -> None:
    draw = np.random.default_rng(7)
    a, cells = draw.integers(0, 4, 60), draw.integers(0, 3, 60)
    b = np.where(draw.random(60) < 0.6, a, draw.integers(0, 5, 60))
    assert pair_agreement(a, b) == pytest.approx(adjusted_rand_score(a, b))
    assert pair_agreement(a, b, cells) == pytest.approx(plain_agreement(a, b, cells))
    assert pair_agreement(a, b, np.zeros_like(a)) == pytest.approx(pair_agreement(a, b))
    assert pair_agreement(a, b, np.arange(60)) == 1.0  # no cell holds a pair
    assert pair_agreement(a, 4 - b) == pair_agreement(b, a) == pair_agreement(a, b)
