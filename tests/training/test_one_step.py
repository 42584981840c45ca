"""One training step of DeepCluster-v2, SwAV and co-teaching against straight re-implementations: loss, gradients."""

from collections import OrderedDict
from typing import Any

import pytest
import torch
from reference.successors import co_teaching_losses, swav_loss, unit_embeddings, v2_loss
from support import tiny
from torch import Tensor, nn
from torch.nn import functional as F

from deepcluster.data.multi_crop import multi_crop
from deepcluster.data.view_settings import SmallCrops, View
from deepcluster.features.bank import MemoryBank
from deepcluster.models.backbone import Backbone
from deepcluster.models.heads import CosineHead
from deepcluster.training.beside import BesideHeads
from deepcluster.training.embedding import MLPEmbedding
from deepcluster.training.module import Crops, DeepClusterModule
from deepcluster.training.optimizer import SGDSettings
from deepcluster.training.peer import Peer
from deepcluster.training.targets import Lookup, SwappedSinkhorn, Targets

D, E, B, T = 6, 5, 7, 0.1


def backbone_of_any_size() -> Backbone:
    return Backbone(
        features=nn.Sequential(OrderedDict(conv1=nn.Conv2d(1, D, 3, bias=False))),
        neck=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        feature_dim=D,
        stages=["conv1"],
        in_channels=1,
        image_size=16,
        sobel=False,
    )


def module_of(
    head: CosineHead,
    targets: Targets,
    bank: MemoryBank | None = None,
    peer: Peer | None = None,
    beside: BesideHeads | None = None,
) -> DeepClusterModule:
    """A network that takes crops of any size."""
    view = View(size=16, n_large=2, small=SmallCrops(n=2, size=8))
    return DeepClusterModule(
        backbone_of_any_size(),
        head,
        view=multi_crop(view, tiny.images(), tiny.MEAN, tiny.STD),
        optimizer=SGDSettings(),
        seed=1,
        card={},
        embedding=MLPEmbedding(hidden=9, dim=E).build(D),
        embedding_dim=E,
        targets=targets,
        bank=bank,
        peer=peer,
        beside=beside,
    ).train()


@pytest.fixture
def crops() -> list[Tensor]:
    """Two large and two small crops; images differ in brightness, or BatchNorm would divide by almost nothing."""
    torch.manual_seed(0)
    return [3 * torch.randn(B, 1, 1, 1) + torch.randn(B, 1, side, side) for side in (16, 16, 8, 8)]


def taken_step(module: DeepClusterModule, crops: list[Tensor], indices: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    loss = module.training_step(Crops(crops, indices), 0)
    loss.backward()  # type: ignore[no-untyped-call]
    module.on_before_optimizer_step(torch.optim.SGD(module.parameters(), lr=0.1))
    return loss.detach(), {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


def leaves(module: DeepClusterModule) -> dict[str, Tensor]:
    return {name: p.detach().clone().requires_grad_() for name, p in module.named_parameters()}


def assert_same(step: tuple[Tensor, dict[str, Tensor]], expected: Tensor, weights: dict[str, Tensor]) -> None:
    loss, gradients = step
    torch.testing.assert_close(loss, expected.detach(), atol=1e-5, rtol=0)
    for name, gradient in gradients.items():
        (straight,) = torch.autograd.grad(expected, weights[name], retain_graph=True)
        torch.testing.assert_close(gradient, straight, atol=1e-5, rtol=1e-5)


def test_a_step_of_v2_is_that_of_a_straight_implementation(crops: list[Tensor]) -> None:
    torch.manual_seed(1)
    head = CosineHead(E, [4, 3], temperature=T, follows_centroids=True, trained=False)
    bank = MemoryBank(20, 2, E, dtype=torch.float32)
    module, indices = module_of(head, Lookup(), bank), torch.randperm(20)[:B]
    module.take_labels([torch.arange(20) % 4, torch.arange(20) % 3])
    weights = leaves(module)
    assert module.pseudo_labels is not None
    expected = v2_loss(weights, crops, list(head.vectors), module.pseudo_labels[:, indices], temperature=T)
    step = taken_step(module, crops, indices)
    assert_same(step, expected, weights)
    assert sorted(step[1]) == sorted(name for name in weights if not name.startswith("head."))  # centroids stay
    torch.testing.assert_close(bank.rows[:, indices], unit_embeddings(weights, crops)[:2].detach())  # the large crops


def test_heads_beside_add_their_weighted_loss_of_every_crop(crops: list[Tensor]) -> None:
    torch.manual_seed(5)
    head = CosineHead(E, [4], temperature=T, follows_centroids=True, trained=False)
    beside = BesideHeads(D, [3, 5], weight=0.5, fade_epochs=4)
    module, indices = module_of(head, Lookup(), beside=beside), torch.randperm(20)[:B]
    module.take_labels([torch.arange(20) % 4])
    others = [torch.arange(20) % 3, torch.arange(20) % 5]
    beside.take_labels(others, torch.device("cpu"))
    weights = leaves(module)
    each = []
    for number, labels in enumerate(others):
        matrix, bias = (weights[f"beside.heads.{number}.linear.{part}"] for part in ("weight", "bias"))
        for crop in crops:
            features = F.conv2d(crop, weights["backbone.features.conv1.weight"]).mean(dim=(2, 3)).relu()
            each.append(F.cross_entropy(features @ matrix.T + bias, labels[indices]))
    own = v2_loss(weights, crops, list(head.vectors), indices[None] % 4, temperature=T)
    assert_same(taken_step(module, crops, indices), own + 0.5 * torch.stack(each).mean(), weights)


@pytest.mark.parametrize("frozen_steps", [0, 1])
def test_a_step_of_swav_with_a_queue_is_that_of_a_straight_implementation(
    crops: list[Tensor], frozen_steps: int
) -> None:
    torch.manual_seed(2)
    head = CosineHead(E, [4], temperature=T, follows_centroids=False, trained=True, frozen_steps=frozen_steps)
    targets = SwappedSinkhorn(epsilon=0.05, n_iter=3, queue=10, queue_from_epoch=0, temperature=T)
    targets.queue = torch.randn(2, 10, E)
    module, queue = module_of(head, targets), F.normalize(targets.queue, dim=2)
    weights = leaves(module)
    expected = swav_loss(weights, crops, weights["head.vectors.0"], queue, temperature=T, epsilon=0.05)
    step = taken_step(module, crops, torch.arange(B))
    assert_same(step, expected, weights)
    assert ("head.vectors.0" in step[1]) == (frozen_steps == 0)  # frozen: the optimizer passes over it
    assert torch.equal(F.normalize(targets.queue[:, B:], dim=2), queue[:, : 10 - B])


@pytest.mark.parametrize("frozen_steps", [0, 1])
def test_a_step_of_co_teaching_is_that_of_a_straight_implementation(crops: list[Tensor], frozen_steps: int) -> None:
    torch.manual_seed(4)
    learned: dict[str, Any] = dict(temperature=T, follows_centroids=False, trained=True, frozen_steps=frozen_steps)
    heads = [CosineHead(E, [4], **learned) for _ in range(2)]
    peer = Peer(backbone_of_any_size(), MLPEmbedding(hidden=9, dim=E).build(D) or nn.Identity(), heads[1])
    module, indices = module_of(heads[0], Lookup(kept_share=0.5), peer=peer), torch.randperm(20)[:B]
    module.take_labels([torch.arange(20) % 4])
    weights = leaves(module)
    both = [weights, {name.removeprefix("peer."): value for name, value in weights.items() if "peer." in name}]
    losses = co_teaching_losses(
        both, crops, [one["head.vectors.0"] for one in both], indices % 4, temperature=T, n_kept=4
    )
    with torch.no_grad():
        for head in heads:
            head.vectors[0].mul_(3)  # as a step may leave them; the next one brings them back to unit length
    step = taken_step(module, crops, indices)
    assert_same(step, losses[0] + losses[1], weights)
    assert sorted(step[1]) == sorted(name for name in weights if not (frozen_steps and "vectors" in name))
    module.train_metrics.count()
    own, other = module.train_metrics.sums[[0, 3]].tolist()
    assert [own / B, other / B] == pytest.approx([float(loss.detach()) for loss in losses], abs=1e-5)
