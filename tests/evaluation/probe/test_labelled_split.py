"""A share of the labels: how many of each class, and which."""

import torch

from deepcluster.evaluation.probe.labelled_split import draw_labelled


def test_every_class_gives_equally_many_and_at_least_one() -> None:
    labels = torch.arange(1000) % 10
    indices = torch.arange(1000)
    for share, each in ((0.1, 10), (0.01, 1), (0.0001, 1), (0.034, 3)):
        drawn = draw_labelled(labels, indices, share, seed=1)
        assert torch.bincount(labels[drawn]).tolist() == [each] * 10
        assert drawn.tolist() == sorted(set(drawn.tolist()))


def test_a_small_class_gives_what_it_has() -> None:
    labels = torch.tensor([0] * 90 + [1] * 8 + [2] * 2)
    drawn = draw_labelled(labels, torch.arange(100), 0.15, seed=1)  # 15 labels of 3 classes: 5 each
    assert torch.bincount(labels[drawn]).tolist() == [5, 5, 2]


def test_only_the_given_images_are_drawn_and_all_with_a_share_of_one() -> None:
    labels = torch.where(torch.arange(60) < 40, torch.arange(60) % 4, -1)
    indices = torch.arange(0, 40, 2)  # classes 0 and 2 only
    drawn = draw_labelled(labels[indices], indices, 0.5, seed=1)
    assert set(drawn.tolist()) < set(indices.tolist()) and torch.bincount(labels[drawn]).tolist() == [5, 0, 5]
    assert torch.equal(draw_labelled(labels[indices], indices, 1.0, seed=1), indices)


def test_a_smaller_share_is_part_of_a_larger_one_and_the_seed_decides() -> None:
    labels, indices = torch.arange(400) % 4, torch.arange(400)
    small, large = (set(draw_labelled(labels, indices, share, seed=1).tolist()) for share in (0.01, 0.1))
    assert small < large
    assert set(draw_labelled(labels, indices, 0.1, seed=2).tolist()) != large
