import math

import pytest
import torch
from support.textures import seen, textures

from deepcluster.evaluation.samples.near_copies import choose_limit, made_copies, near_copies
from deepcluster.evaluation.samples.shapes import edge_histograms


def test_planted_copies_are_found_and_nothing_else() -> None:
    large = textures(150, seed=3)
    pictures = seen(large)
    copies = torch.cat([seen(large[:5, 8:152, 4:148]), (pictures[5:10].float() * 1.2).clamp(max=255).byte()])
    blank = torch.full((3, 64, 64), 90, dtype=torch.uint8)  # nothing to compare: no copies of one another
    near = near_copies(torch.cat([blank, pictures, copies]), seed=1)
    assert sorted(map(tuple, near.pairs.tolist())) == [(3 + i, 153 + i) for i in range(10)]
    assert near.of_copies < near.limit < near.of_others
    assert bool((near.distances <= near.limit).all())


@pytest.mark.parametrize("n", [0, 3, 4, 30])
def test_few_pictures_are_compared_all_with_all(n: int) -> None:
    pictures = seen(textures(30, seed=4))[:n]
    if n == 30:
        pictures[20] = pictures[7]
    expected = [[7, 20]] if n == 30 else []
    assert near_copies(pictures, seed=1).pairs.tolist() == expected


def test_the_limit_is_between_copies_and_others_and_does_not_fall_with_many_copies() -> None:
    """By hand: logarithms of the others are -2, ..., 2 in steps: their quartile is 1 below the median 0."""
    copies = torch.full((100,), 0.1)
    others = torch.linspace(-2, 2, 101).exp()
    limit, of_copies, of_others = choose_limit(copies, others)
    assert of_copies == pytest.approx(0.1)
    assert of_others == pytest.approx(math.exp(-4 / 0.67449), rel=1e-4)
    assert limit == pytest.approx(0.05)  # others come as near as copies: half of what copies have
    apart = torch.linspace(-0.2, 0.2, 101).exp()
    limit, _, of_others = choose_limit(copies, apart)
    assert limit == pytest.approx(math.sqrt(0.1 * math.exp(-0.4 / 0.67449)), rel=1e-4)
    assert choose_limit(copies, torch.cat([apart, torch.full((90,), 0.03)]))[0] == pytest.approx(limit)
    assert choose_limit(copies, torch.full((50,), 0.03))[0] == pytest.approx(0.1)  # a folder of one motif


def test_made_copies_show_a_part_enlarged_and_brighter() -> None:
    ramp = torch.arange(64).expand(1, 64, 64).to(torch.uint8) + 50
    copy = made_copies(ramp, seed=1)[0].float() / 1.2
    steps = copy[10, 11:50] - copy[10, 10:49]
    assert float(steps.mean()) == pytest.approx(0.9, abs=0.03)


def test_edges_of_one_direction_fill_one_bin() -> None:
    """Stripes along y have edges to the right and to the left only: bins 0 and 4 of eight."""
    stripes = (torch.arange(64) // 8 % 2 * 200).to(torch.uint8).expand(1, 64, 64)
    bins = edge_histograms(stripes).view(8, 7, 7).square().sum((1, 2))
    assert float(bins[[0, 4]].sum()) == pytest.approx(1.0, abs=1e-4)
