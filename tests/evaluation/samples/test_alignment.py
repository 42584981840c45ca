import torch
from support.textures import seen, textures
from torch.nn import functional as F

from deepcluster.evaluation.samples.alignment import aligned_distances


def test_a_crop_of_90_percent_and_a_brighter_one_are_found_in_their_picture() -> None:
    large = textures(12)
    whole = seen(large)
    crops = torch.cat(
        [seen(large[i : i + 1, top : top + 144, 16 - top : 160 - top]) for i, top in enumerate([0, 5, 16] * 4)]
    )
    brighter = (whole.float() * 1.2 + 10).clamp(max=255).byte()
    as_they_lie = aligned_distances(whole, torch.roll(whole, 1, 0))
    for copies in (crops, brighter):
        assert float(aligned_distances(whole, copies).max()) < 0.2
    assert float(as_they_lie.min()) > 0.6


def test_equal_pictures_are_0_apart_and_the_order_of_two_does_not_count() -> None:
    one, other = seen(textures(6, seed=1)), seen(textures(6, seed=2))
    assert float(aligned_distances(one, one).max()) < 1e-3
    assert torch.allclose(aligned_distances(one, other), aligned_distances(other, one))
    assert len(aligned_distances(one[:0], other[:0])) == 0


def test_without_a_move_it_is_the_distance_of_standardised_pixels() -> None:
    """Two pictures that no move brings nearer: the plain formula."""
    one = torch.zeros(1, 64, 64, dtype=torch.uint8)
    one[0, :32] = 200
    other = one.clone()
    other[0, 40:48, 40:48] = 100
    x, y = (F.avg_pool2d(each.float()[:, None], 2).flatten() for each in (one, other))
    x, y = ((each - each.mean()) / (each - each.mean()).norm() for each in (x, y))
    assert float(aligned_distances(one, other)[0]) <= float((x - y).norm()) + 1e-3
