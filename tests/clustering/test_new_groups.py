import torch

from deepcluster.clustering.new_groups import new_groups
from deepcluster.system.seeding import generator


def blobs(*sizes: int, apart: float = 8.0) -> torch.Tensor:
    """Rows around as many centres."""
    draw = generator("blobs")
    centres = apart * torch.randn(len(sizes), 6, generator=draw)
    parts = [centre + torch.randn(n, 6, generator=draw) for centre, n in zip(centres, sizes, strict=True)]
    return torch.cat(parts)


def test_new_rows_of_an_old_kind_make_no_group() -> None:
    rows, is_new = blobs(60, 60, 60), torch.arange(180) % 10 == 0
    assert bool((new_groups(rows, is_new, [54, 54, 54], seed=1) == -1).all())
    mostly_new = torch.arange(180) % 10 != 0  # chance alone gives each row nine new neighbours of ten
    assert bool((new_groups(rows, mostly_new, [6, 6, 6], seed=1) == -1).all())


def test_new_rows_that_lie_together_make_groups_of_the_usual_size() -> None:
    rows, is_new = blobs(50, 50, 50, 40, 45), torch.arange(235) >= 150
    groups = new_groups(rows, is_new, [50, 30, 40], seed=1)
    assert set(groups[:150].tolist()) == {-1}
    assert {frozenset(groups[150:190].tolist()), frozenset(groups[190:].tolist())} == {frozenset({0}), frozenset({1})}
    assert torch.equal(new_groups(rows, is_new, [50, 30, 40], seed=1), groups)


def test_few_new_rows_make_no_group() -> None:
    rows = blobs(50, 50, 12)
    is_new = torch.arange(112) >= 100
    assert bool((new_groups(rows, is_new, [40, 50, 60], seed=1) == -1).all())  # as small as no cluster
    assert bool((new_groups(rows[:4], is_new[-4:], [3], seed=1) == -1).all())
