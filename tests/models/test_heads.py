"""Heads of several labelings: what they compute, and what a reassignment changes of them."""

import torch
from torch import Tensor
from torch.nn import functional as F

from deepcluster.models.heads import CosineHead, LinearHead, NewClusters


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def new(k: int, dim: int, *, seed: int = 0, is_first: bool = False) -> NewClusters:
    return NewClusters(k, torch.randn(k, dim, generator=seeded(seed)), seeded(seed), is_first)


def cosine(**changes: object) -> CosineHead:
    settings = {"temperature": 0.5, "follows_centroids": False, "trained": True, **changes}
    torch.manual_seed(0)
    return CosineHead(4, [3, 5], **settings)  # type: ignore[arg-type]


def embeddings() -> Tensor:
    return torch.randn(7, 4, generator=seeded(9))


def test_a_linear_head_of_one_labeling_has_the_names_of_old_checkpoints() -> None:
    assert set(LinearHead(4, [3]).state_dict()) == {"linear.weight", "linear.bias", "_extra_state"}


def test_each_labeling_has_its_own_scores() -> None:
    head = LinearHead(4, [3, 5], relu=False)
    scores, x = head.scores(embeddings()), embeddings()
    assert [part.shape for part in scores] == [(7, 3), (7, 5)]
    assert torch.allclose(scores[1], x @ head.labelings[1].linear.weight.T + head.labelings[1].linear.bias)


def test_only_the_labelings_that_were_clustered_again_are_drawn_anew() -> None:
    head = LinearHead(4, [3, 5])
    before = [labeling.linear.weight.clone() for labeling in head.labelings]
    changed = head.follow([None, new(5, 4)])
    assert torch.equal(head.labelings[0].linear.weight, before[0])
    assert not torch.equal(head.labelings[1].linear.weight, before[1])
    assert [id(p) for p in changed] == [id(p) for p in head.labelings[1].linear.parameters()]


def test_a_kept_head_is_drawn_only_at_its_first_clustering_or_for_another_number_of_clusters() -> None:
    head = LinearHead(4, [3], redraws=False)
    assert len(head.follow([new(3, 4, is_first=True)])) == 2
    kept = head.linear.weight.clone()
    assert head.follow([new(3, 4, seed=5)]) == [] and torch.equal(head.linear.weight, kept)
    assert len(head.follow([new(2, 4, seed=5)])) == 2 and head.n_active == 2


def test_a_cosine_head_gives_cosines_divided_by_the_temperature() -> None:
    head, x = cosine(), embeddings()
    expected = F.cosine_similarity(x[:, None], head.vectors[1][None], dim=2) / 0.5
    assert torch.allclose(head.scores(x)[1], expected, atol=1e-6)
    assert torch.allclose(head.scores(100 * x)[0], head.scores(x)[0], atol=1e-5)


def test_a_centroid_head_takes_over_the_centroids_as_unit_vectors_and_learns_nothing() -> None:
    head, clusters = cosine(follows_centroids=True, trained=False), new(5, 4)
    before = head.vectors[0].clone()
    assert head.follow([None, clusters]) == [head.vectors[1]]
    assert torch.equal(head.vectors[0], before)
    assert torch.allclose(head.vectors[1], F.normalize(clusters.centroids, dim=1))
    assert not any(p.requires_grad for p in head.parameters())


def test_prototypes_keep_their_place_at_a_reassignment_and_unit_length_in_a_step() -> None:
    head = cosine()
    before = [vectors.clone() for vectors in head.vectors]
    assert head.follow([new(3, 4), new(5, 4)]) == []
    assert all(torch.equal(now, then) for now, then in zip(head.vectors, before, strict=True))
    with torch.no_grad():
        head.vectors[0].mul_(7)
    head.begin_step()
    assert torch.allclose(head.vectors[0].norm(dim=1), torch.ones(3))


def test_frozen_prototypes_do_not_move_in_a_step_of_the_optimizer() -> None:
    head = cosine(frozen_steps=2)
    optimizer = torch.optim.SGD(head.parameters(), lr=1.0, momentum=0.9, weight_decay=0.1)
    for step, moves in [(0, False), (1, False), (2, True)]:
        before = head.vectors[0].clone()
        sum(part.square().sum() for part in head.scores(embeddings())).backward()  # type: ignore[union-attr]
        head.before_update(step)
        optimizer.step()
        optimizer.zero_grad()
        assert torch.equal(before, head.vectors[0]) != moves
