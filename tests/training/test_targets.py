"""Losses against worked examples and straight re-implementations."""

import math
from typing import Any

import pytest
import torch
from support.several import on_ranks
from torch import Tensor
from torch.nn import functional as F

from deepcluster.clustering.assignment import SoftLabels
from deepcluster.clustering.ranks import Ranks
from deepcluster.clustering.sinkhorn import sinkhorn_knopp
from deepcluster.training.targets import Lookup, Scored, SwappedSinkhorn


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def scored(scores: list[Tensor], labels: Tensor | None = None, **changes: object) -> Scored:
    n_crops, n_images = scores[0].shape[:2]
    settings: dict[str, object] = {
        "embedding": rand(n_crops, n_images, 4),
        "all_labelled": labels is not None and bool((labels >= 0).all()),
        "n_large": min(2, n_crops),
        "epoch": 0,
        "rescore": lambda rows: [rows],
        **changes,
    }
    return Scored(scores=scores, labels=labels, **settings)  # type: ignore[arg-type]


def test_one_crop_and_one_labeling_give_plain_cross_entropy() -> None:
    scores, labels = rand(1, 6, 3), torch.tensor([[0, 1, 2, 0, 1, 2]])
    assert torch.equal(Lookup().loss(scored([scores], labels)).value, F.cross_entropy(scores[0], labels[0]))


def test_every_crop_of_an_image_has_the_images_cluster_of_each_labeling() -> None:
    scores, labels = [rand(3, 2, 3), rand(3, 2, 5, seed=1)], torch.tensor([[0, 2], [4, 1]])
    one_by_one = [
        F.cross_entropy(scores[h][crop, i][None], labels[h, i][None])
        for h in (0, 1)
        for crop in range(3)
        for i in (0, 1)
    ]
    assert Lookup().loss(scored(scores, labels)).value.item() == pytest.approx(float(sum(one_by_one)) / 12, rel=1e-6)


def test_an_image_without_a_label_has_no_part_in_the_loss() -> None:
    scores, labels = rand(2, 4, 3).requires_grad_(), torch.tensor([[0, -1, 2, -1]])
    value = Lookup().loss(scored([scores], labels)).value
    rest = scores.detach()[:, [0, 2]]
    assert value.item() == pytest.approx(float(Lookup().loss(scored([rest], labels[:, [0, 2]])).value), rel=1e-6)
    value.backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None and scores.grad[:, [1, 3]].abs().sum() == 0 < scores.grad[:, [0, 2]].abs().sum()
    assert float(Lookup().loss(scored([rand(1, 2, 3)], torch.tensor([[-1, -1]]))).value) == 0


def test_smoothing_is_that_of_szegedy() -> None:
    scores, labels = rand(1, 5, 4), torch.tensor([[0, 1, 2, 3, 0]])
    target = 0.8 * F.one_hot(labels[0], 4) + 0.2 / 4
    expected = -(target * scores[0].log_softmax(1)).sum(1).mean()
    assert torch.allclose(Lookup(label_smoothing=0.2).loss(scored([scores], labels)).value, expected)


def test_small_loss_selection_learns_from_the_images_of_the_smallest_losses() -> None:
    # logits of 2 clusters whose losses with label 0 are ln(1 + e^-x): falling in x
    scores = torch.tensor([[[3.0, 0], [-3.0, 0], [1.0, 0], [0.0, 0]]])
    labels, losses = torch.zeros(1, 4, dtype=torch.int64), [math.log(1 + math.exp(-x)) for x in (3.0, 1.0)]
    half = Lookup(kept_share=0.5, kept_from_epoch=1)
    assert half.loss(scored([scores], labels, epoch=1)).value.item() == pytest.approx(sum(losses) / 2, rel=1e-6)
    assert torch.equal(half.loss(scored([scores], labels)).value, F.cross_entropy(scores[0], labels[0]))  # epoch 0


@pytest.mark.parametrize(("share", "n", "n_kept"), [(0.15, 100, 15), (0.09, 300, 27), (0.8, 256, 205), (0.01, 5, 1)])
def test_the_share_is_of_whole_images_and_at_least_one(share: float, n: int, n_kept: int) -> None:
    losses = rand(n)
    kept = Lookup()._smallest(losses, torch.ones(n, dtype=torch.bool), share)
    assert torch.equal(kept.nonzero().flatten().sort().values, losses.argsort()[:n_kept].sort().values)


def test_the_kept_share_falls_in_equal_steps() -> None:
    ramp = Lookup(kept_share=0.8, kept_from_epoch=1, kept_ramp_epochs=4)
    assert [ramp.share_at(epoch) for epoch in range(7)] == pytest.approx([1, 0.95, 0.9, 0.85, 0.8, 0.8, 0.8])
    assert [Lookup(kept_share=0.8, kept_from_epoch=1).share_at(epoch) for epoch in (0, 1, 9)] == [1, 0.8, 0.8]


def test_two_networks_learn_from_the_images_that_the_other_finds_easiest() -> None:
    # logits of 2 clusters whose losses with label 0 are ln(1 + e^-x): falling in x; the last image has no label
    first, second = [3.0, -3.0, 1.0, 0.0, 9.0], [-3.0, 0.0, 1.0, 3.0, 9.0]
    labels = torch.tensor([[0, 0, 0, 0, -1]])
    batches = [scored([torch.tensor([[[x, 0.0] for x in of]])], labels) for of in (first, second)]
    found = [float(loss.value) for loss in Lookup(kept_share=0.5).losses(batches)]
    chosen = [[0, 2], [3, 2]]  # by the first, by the second
    expected = [
        sum(math.log(1 + math.exp(-of[i])) for i in images) / 2
        for of, images in zip((first, second), reversed(chosen), strict=True)
    ]
    assert found == pytest.approx(expected, rel=1e-6)


def test_soft_targets_are_shares_of_the_nearest_clusters() -> None:
    scores, labels = rand(2, 3, 5), torch.tensor([[1, 4, 0]])
    soft = SoftLabels(torch.tensor([[1, 3], [4, 0], [0, 2]]).int(), torch.tensor([[0.9, 0.1], [0.6, 0.4], [1.0, 0.0]]))
    target = torch.zeros(3, 5).scatter_(1, soft.numbers.long(), soft.shares)
    logs = scores.log_softmax(2)
    found = Lookup().loss(scored([scores], labels, soft=[soft])).value
    assert found.item() == pytest.approx(float(-(target * logs).sum(2).mean()), rel=1e-6)
    smoothed = Lookup(label_smoothing=0.2).loss(scored([scores], labels, soft=[soft])).value
    assert smoothed.item() == pytest.approx(float(-((0.8 * target + 0.04) * logs).sum(2).mean()), rel=1e-6)
    sharp = soft._replace(shares=torch.tensor([[1.0, 0.0]] * 3))
    hard = Lookup(label_smoothing=0.2).loss(scored([scores], labels)).value
    found = Lookup(label_smoothing=0.2).loss(scored([scores], labels, soft=[sharp])).value
    assert found.item() == pytest.approx(hard.item(), rel=1e-6)


def swapped(**changes: object) -> SwappedSinkhorn:
    settings = {"epsilon": 0.05, "n_iter": 3, "queue": 0, "queue_from_epoch": 0, "temperature": 0.1, **changes}
    return SwappedSinkhorn(**settings)  # type: ignore[arg-type]


def test_swapped_loss_is_that_of_a_straight_implementation() -> None:
    cosines = torch.tanh(rand(4, 6, 3))  # two large and two small crops
    scores = (cosines / 0.1).requires_grad_()
    value = swapped().loss(scored([scores])).value
    expected = torch.zeros(())
    for large in (0, 1):
        plan = sinkhorn_knopp(cosines[large], epsilon=0.05, n_iter=3)
        for other in range(4):
            if other != large:
                expected = expected - (plan * torch.log_softmax(scores[other], dim=1)).sum(dim=1).mean() / 6
    assert torch.allclose(value, expected, rtol=1e-5)
    (ours,) = torch.autograd.grad(value, scores)
    (theirs,) = torch.autograd.grad(expected, scores)
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_a_worked_example_two_images_that_each_prefer_a_prototype_of_their_own() -> None:
    cosines = torch.eye(2).repeat(2, 1, 1)  # both crops of image i are prototype i
    value = swapped().loss(scored([cosines / 0.1])).value
    share = 1 / (1 + math.exp(-1 / 0.05))  # each plan's larger entry: the marginals are balanced already
    log = [-math.log(1 + math.exp(-10)), -10 - math.log(1 + math.exp(-10))]
    assert value.item() == pytest.approx(-(share * log[0] + (1 - share) * log[1]), abs=1e-6)


def test_the_queue_joins_the_balance_once_it_is_full_and_holds_the_newest_images() -> None:
    targets = swapped(queue=8)
    first, second = (rand(2, 4, 3, seed=seed) for seed in (1, 2))
    for embedding in (first, second):
        targets.loss(scored([torch.tanh(embedding) / 0.1], embedding=embedding))
    assert targets.queue is not None and torch.equal(targets.queue, torch.cat([second, first], dim=1))
    third, seen = torch.tanh(rand(2, 4, 3, seed=3)) / 0.1, []
    targets.loss(scored([third], embedding=rand(2, 4, 3), rescore=lambda rows: seen.append(rows) or [rows / 0.1]))
    assert [rows.shape for rows in seen] == [(8, 3), (8, 3)]


@pytest.mark.parametrize(("from_epoch", "used"), [(0, [2, 3, 4]), (1, [3, 4])])
def test_the_queue_waits_until_it_is_full_and_its_epoch_has_come_and_holds_no_graph(
    from_epoch: int, used: list[int]
) -> None:
    seen: list[int] = []
    targets = swapped(queue=8, queue_from_epoch=from_epoch)
    for step, epoch in enumerate((0, 0, 0, 1, 1)):  # full after two steps

        def rescore(rows: Tensor, step: int = step) -> list[Tensor]:
            assert rows.shape == (8, 3)
            seen.append(step)
            return [rows / 0.1]

        embedding = rand(2, 4, 3, seed=step).requires_grad_()
        targets.loss(scored([torch.tanh(embedding) / 0.1], embedding=embedding, epoch=epoch, rescore=rescore))
        assert targets.queue is not None and not targets.queue.requires_grad
    assert seen == [step for step in used for _ in (0, 1)]  # for both large crops


@pytest.mark.parametrize("n_ranks", [1, 2])
def test_a_queue_survives_a_checkpoint_with_the_same_and_with_another_number_of_processes(n_ranks: int) -> None:
    targets = swapped(queue=4)
    targets.loss(scored([torch.tanh(rand(2, 4, 3)) / 0.1], embedding=rand(2, 4, 3)))
    state = targets.state_dict()
    resumed = [swapped(queue=4, ranks=lambda r=r: Ranks(rank=r, size=n_ranks)) for r in range(n_ranks)]
    for one in resumed:
        one.load_state_dict(state)
    assert targets.queue is not None
    images = torch.stack([one.queue for one in resumed], dim=2).flatten(1, 2)  # type: ignore[arg-type, misc]
    assert torch.equal(images, targets.queue)


@pytest.mark.parametrize("later", [1, 2, 4])
def test_the_queues_of_two_processes_go_on_on_as_many_and_on_others(later: int) -> None:
    def after_a_step(ranks: Ranks) -> tuple[Tensor, dict[str, Any]]:
        targets = swapped(queue=8, ranks=lambda: ranks)
        for seed in (ranks.rank, 2 + ranks.rank):
            rows = rand(2, 3, 3, seed=seed)
            targets.loss(scored([torch.tanh(rows) / 0.1], embedding=rows))
        assert targets.queue is not None
        return targets.queue, targets.state_dict()

    made = on_ranks(2, after_a_step)
    assert all(isinstance(one, tuple) for one in made)
    queues = torch.stack([one[0] for one in made], dim=2)  # type: ignore[index]
    assert queues.shape == (2, 4, 2, 3)  # each process holds its half: 3 images of the last step, 1 of that before
    resumed = [swapped(queue=8, ranks=lambda r=r: Ranks(rank=r, size=later)) for r in range(later)]
    for one in resumed:
        one.load_state_dict(made[0][1])  # type: ignore[index]
    together = torch.stack([one.queue for one in resumed], dim=2)  # type: ignore[arg-type, misc]
    assert torch.equal(together.flatten(1, 2), queues.flatten(1, 2))
    if later == 2:
        assert torch.equal(together, queues)


def test_processes_that_share_a_queue_anew_hold_equally_many_images() -> None:
    resumed = [swapped(queue=8, ranks=lambda r=r: Ranks(rank=r, size=2)) for r in (0, 1)]
    for one in resumed:
        one.load_state_dict({"queues": rand(1, 2, 7, 3)})  # not full yet
    assert [one.queue.shape[1] for one in resumed if one.queue is not None] == [3, 3]
