"""R-MAC: the regions, their maxima, one descriptor."""

import numpy as np
import pytest
import torch
from reference import rmac as plain

from deepcluster.clustering.moments import Moments
from deepcluster.clustering.reduction import Reduction
from deepcluster.evaluation.retrieval.rmac import aggregate, region_maxima, regions


def test_regions_are_those_of_the_plain_twin_at_every_shape() -> None:
    for height in range(1, 34):
        for width in range(1, 34):
            assert regions(height, width, 3) == plain.regions(height, width, 3), (height, width)
    assert regions(40, 64, 5) == plain.regions(40, 64, 5)


def test_regions_worked_out_by_hand() -> None:
    # 6 x 6: level 1 is all of it; level 2 has side 4, 2 x 2; level 3 has side 3, starts at 0, 1.5 and 3
    assert regions(6, 6, 2) == [(0, 0, 6), (0, 0, 4), (0, 2, 4), (2, 0, 4), (2, 2, 4)]
    assert [r for r in regions(6, 6, 3) if r[2] == 3] == [(t, left, 3) for t in (0, 1, 3) for left in (0, 1, 3)]
    # 10 x 16: two squares of 10 lie 6 apart, which overlaps by exactly 40 %; m = 2, so level 2 has 2 rows of 3
    assert regions(10, 16, 1) == [(0, 0, 10), (0, 6, 10)]
    assert [r for r in regions(10, 16, 2)[2:]] == [(t, left, 6) for t in (0, 4) for left in (0, 5, 10)]
    assert regions(16, 10, 1) == [(0, 0, 10), (6, 0, 10)]
    # 1 x 3: no room for level 2's side 2 * 1 // 3 = 0
    assert {side for _, _, side in regions(1, 3, 3)} == {1}


def test_every_region_lies_in_the_map_and_the_first_level_reaches_both_ends() -> None:
    for height, width in [(7, 9), (31, 8), (12, 64)]:
        found = regions(height, width, 3)
        assert all(min(t, left) >= 0 and t + s <= height and left + s <= width for t, left, s in found)
        side = min(height, width)
        first = [r for r in found if r[2] == side]
        assert first[0][:2] == (0, 0) and first[-1][:2] == (height - side, width - side)


@pytest.mark.parametrize("shape", [(9, 9), (7, 12), (13, 6)])
@pytest.mark.parametrize("whiten", [False, True])
def test_descriptors_are_those_of_the_plain_twin(shape: tuple[int, int], whiten: bool) -> None:
    generator = torch.Generator().manual_seed(sum(shape))
    maps = torch.rand(5, 12, *shape, generator=generator) ** 3
    maxima = region_maxima(maps, 3)
    reduce, mean, projection = None, None, None
    if whiten:
        moments = Moments(12)
        moments.update(maxima.flatten(0, 1))
        fitted = Reduction(dim=6, epsilon=1e-5, fit_images=None).fit(moments)
        assert fitted.projection is not None
        reduce, mean, projection = fitted.apply, fitted.mean.double().numpy(), fitted.projection.double().numpy()
    found = aggregate(maxima.flatten(0, 1), [maxima.shape[1]] * 5, reduce)
    expected = [plain.descriptor(image.double().numpy(), 3, mean, projection) for image in maps]
    assert np.allclose(found.numpy(), np.stack(expected), atol=1e-5)


def test_a_mirrored_map_has_the_same_descriptor_where_regions_are_symmetric() -> None:
    maps = torch.rand(1, 8, 10, 16, generator=torch.Generator().manual_seed(0))
    lefts = {(left, side) for _, left, side in regions(10, 16, 2)}
    assert lefts == {(16 - left - side, side) for left, side in lefts}
    one, other = (aggregate(region_maxima(m, 2)[0], [8], None) for m in (maps, maps.flip(-1)))
    assert torch.allclose(one, other, atol=1e-6)
    changed = maps.clone()
    changed[:, 0, :, :6] = 9.0  # seen by some regions only
    assert not torch.allclose(one, aggregate(region_maxima(changed, 2)[0], [8], None), atol=1e-2)


def test_a_constant_map_gives_its_own_direction_at_any_size() -> None:
    colour = torch.tensor([3.0, 0.0, 4.0])
    for shape in [(4, 4), (5, 11), (1, 1)]:
        maxima = region_maxima(colour.view(1, 3, 1, 1).expand(1, 3, *shape), 3)[0]
        assert torch.allclose(aggregate(maxima, [len(maxima)], None), torch.tensor([[0.6, 0.0, 0.8]]))


def test_images_with_other_numbers_of_regions_do_not_mix() -> None:
    a, b = torch.rand(1, 6, 5, 5), torch.rand(1, 6, 5, 14)
    one, other = region_maxima(a, 3)[0], region_maxima(b, 3)[0]
    together = aggregate(torch.cat([one, other]), [len(one), len(other)], None)
    assert len(one) != len(other)
    assert torch.allclose(together[0], aggregate(one, [len(one)], None)[0])
    assert torch.allclose(together[1], aggregate(other, [len(other)], None)[0])
    assert torch.allclose(together.norm(dim=1), torch.ones(2))
