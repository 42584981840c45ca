import time

import numpy as np
import pytest
import torch
from reference.sampler import official_draw, quota_draw

from deepcluster.data.sampler import Sampler


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def skewed(n=600, k=12, seed=0):
    """Labels whose cluster sizes differ by a factor of a hundred; cluster 5 is empty."""
    weights = torch.tensor([0.0 if c == 5 else 1.6**-c for c in range(k)])
    labels = torch.multinomial(weights, n, replacement=True, generator=generator(seed))
    labels[: k - 1] = torch.tensor([c for c in range(k) if c != 5])
    return labels, k


def counts(sampler, labels, k, n, repeats):
    """How often every image is shown, over many epochs."""
    g = generator(1)
    shown = [torch.bincount(sampler.indices(labels, k, n, g), minlength=len(labels)) for _ in range(repeats)]
    return torch.stack(shown).sum(0)


def test_every_cluster_is_drawn_equally_often():
    labels, k = skewed()
    drawn = Sampler().indices(labels, k, 600, generator())
    per_cluster = torch.bincount(labels[drawn], minlength=k)
    quota = 600 // 11 + 1
    assert len(drawn) == 600 and per_cluster[5] == 0
    per_cluster = per_cluster[torch.arange(k) != 5]
    assert (per_cluster <= quota).all()
    assert (quota - per_cluster).sum() == 11 * quota - 600  # a few at random are cut off


def test_large_clusters_are_drawn_without_and_small_ones_with_replacement():
    labels = torch.tensor([0] * 90 + [1] * 10)
    for seed in range(5):
        drawn = Sampler().indices(labels, 2, 100, generator(seed))
        large = drawn[labels[drawn] == 0]
        small = torch.bincount(drawn[labels[drawn] == 1], minlength=100)[90:]
        assert len(large.unique()) == len(large) >= 49
        assert small.sum() >= 49 and small.double().std() > 0.5  # five rounds of all ten would have no spread


def test_a_cluster_of_just_the_quota_is_drawn_with_replacement():
    labels = torch.tensor([0] * 6 + [1] * 6)  # 2018: `<=`; of 11 images each gives 11 // 2 + 1 = 6
    assert all(len(Sampler().indices(labels, 2, 11, generator(seed)).unique()) < 10 for seed in range(5))


def test_each_pass_over_all_images_has_its_own_order():
    drawn = Sampler(kind="proportional").indices(torch.zeros(50, dtype=torch.int64), 1, 120, generator())
    first, second = drawn[:50], drawn[50:100]
    assert torch.equal(first.sort().values, torch.arange(50)) and torch.equal(second.sort().values, torch.arange(50))
    assert not torch.equal(first, second) and not torch.equal(first[:20], drawn[100:])


@pytest.mark.parametrize(("kind", "twin"), [("uniform", quota_draw), ("official", official_draw)])
def test_frequencies_of_images_are_those_of_the_plain_twin(kind, twin):
    labels, k = skewed(n=200)
    repeats = 400
    ours = counts(Sampler(kind=kind), labels, k, 200, repeats).double() / repeats
    rng = np.random.default_rng(0)
    theirs = sum(np.bincount(twin(labels.tolist(), k, 200, rng), minlength=200) for _ in range(repeats)) / repeats
    difference = (ours - torch.from_numpy(theirs)).abs()
    # both are means of `repeats` counts; a count's standard deviation is at most about its mean's root + 1
    tolerance = 4.5 * (2 * (ours + 0.05) / repeats).sqrt() * 1.3
    assert (difference < tolerance).all()


def test_the_official_law_is_about_proportional_and_the_right_one_is_not():
    labels, k = skewed(n=5000)
    labels = labels[torch.randperm(5000, generator=generator(3))]
    sizes = torch.bincount(labels, minlength=k).double()
    shown = {}
    for kind in ("uniform", "official"):
        drawn = Sampler(kind=kind).indices(labels, k, 5000, generator(4))
        shown[kind] = torch.bincount(labels[drawn], minlength=k).double()
    # REFERENCE 1.7, simulated: correlation of the realised frequency with the raw size 0.98
    assert torch.corrcoef(torch.stack([sizes, shown["official"]]))[0, 1] > 0.95
    assert shown["uniform"].max() <= 5000 // 11 + 1


def lognormal_sizes():
    """1000 cluster sizes that sum to about 50,000, as uneven as those of REFERENCE 1.7 (perplexity 503)."""
    quantiles = torch.special.ndtri((torch.arange(1000, dtype=torch.float64) + 0.5) / 1000)
    sizes = torch.exp(1.185 * quantiles)
    return (sizes / sizes.sum() * 50_000).round().long().clamp_min(1)


def drawn_sizes(kind, labels, seed):
    drawn = Sampler(kind=kind).indices(labels, 1000, 50_000, generator(seed))
    return torch.bincount(labels[drawn], minlength=1000).double()


def effective_number(sizes):
    """The perplexity: e to the entropy."""
    shares = sizes.double() / sizes.sum()
    return float(torch.exp(-(shares * shares.clamp_min(1e-300).log()).sum()))


@pytest.mark.parametrize("seed", range(3))
def test_the_2018_sampler_draws_about_as_unevenly_as_no_sampler_at_all(seed):
    """REFERENCE 1.7, simulated: raw 503, intended 993, official 494, correlation 0.98, largest 15 times the mean."""
    sizes = lognormal_sizes()
    labels = torch.repeat_interleave(torch.arange(1000), sizes)
    labels = labels[torch.randperm(len(labels), generator=generator(seed))]  # the folders' order is random
    assert effective_number(sizes) == pytest.approx(503, abs=3)
    uniform, official = (drawn_sizes(kind, labels, seed) for kind in ("uniform", "official"))
    assert effective_number(uniform) > 990 and uniform.max() / uniform.mean() < 1.05
    assert effective_number(official) == pytest.approx(494, rel=0.04)
    assert torch.corrcoef(torch.stack([official, sizes.double()]))[0, 1] == pytest.approx(0.98, abs=0.01)
    assert official.max() / official.mean() > 15


def test_the_2018_sampler_is_worse_than_none_where_folders_are_clusters():
    """REFERENCE 1.7: 363 against 506 raw. The folders are the clusters, whose numbers are in another order."""
    sizes = lognormal_sizes()
    found = []
    for seed in range(5):
        order = torch.randperm(1000, generator=generator(seed))
        found.append(effective_number(drawn_sizes("official", torch.repeat_interleave(order, sizes[order]), seed)))
    assert max(found) < 0.85 * effective_number(sizes)
    assert np.mean(found) == pytest.approx(363, rel=0.1)


def test_proportional_shows_every_image_equally_often():
    labels, k = skewed(n=50)
    sampler = Sampler(kind="proportional")
    assert sampler.indices(labels, k, 50, generator()).sort().values.tolist() == list(range(50))
    assert torch.bincount(sampler.indices(labels, k, 100, generator())).tolist() == [2] * 50
    assert len(sampler.indices(labels, k, 70, generator()).unique()) == 50
    assert len(sampler.indices(labels, k, 30, generator()).unique()) == 30


def test_images_without_a_label_are_in_no_cluster_and_only_proportional_shows_them():
    labels, k = skewed(n=200)
    some = labels.clone()
    some[::4] = -1
    kept = (some >= 0).nonzero().flatten()
    for kind in ("uniform", "official"):
        drawn = Sampler(kind=kind).indices(some, k, 200, generator())
        alone = Sampler(kind=kind).indices(labels[kept], k, 200, generator())  # as if there were no others
        assert torch.equal(drawn, kept[alone]) and len(drawn) == 200
        with pytest.raises(ValueError, match=rf"sampler={kind} .* none of 200 images .* sampler=proportional"):
            Sampler(kind=kind).indices(torch.full((200,), -1), k, 9, generator())
    drawn = Sampler(kind="proportional").indices(some, k, 200, generator())
    assert drawn.sort().values.tolist() == list(range(200))


@pytest.mark.parametrize("kind", ["uniform", "proportional", "official"])
@pytest.mark.parametrize("n", [1, 7, 200, 999])
def test_same_seed_same_indices_in_any_number(kind, n):
    labels, k = skewed(n=200)
    sampler = Sampler(kind=kind)
    first = sampler.indices(labels, k, n, generator(5))
    assert len(first) == n and first.dtype == torch.int64
    assert torch.equal(first, sampler.indices(labels, k, n, generator(5)))
    assert n == 1 or not torch.equal(first, sampler.indices(labels, k, n, generator(6)))


def test_fifty_thousand_images_are_drawn_in_milliseconds():
    labels = torch.randint(0, 1000, (50_000,), generator=generator())
    times = []
    for seed in range(5):
        started = time.process_time()  # other processes' work does not count
        Sampler().indices(labels, 1000, 50_000, generator(seed))
        times.append(time.process_time() - started)
    assert min(times) < 0.1  # 0.012 s measured; a loop over clusters takes longer


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"sampler.kind must be one of uniform, proportional, official, got 'even'"):
        Sampler(kind="even")
