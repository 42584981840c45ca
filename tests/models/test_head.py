"""The head: drawn anew in place, fewer rows than room, trained as by the 2018 code's two optimizers."""

import copy

import pytest
import torch
from reference.two_optimizers import train_2018
from torch.nn import functional as F

from deepcluster.models.head import ClusterHead
from deepcluster.models.lenet import LeNet5


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_redraw_follows_the_2018_law():
    head = ClusterHead(400, 300)
    with torch.no_grad():
        head.linear.bias.fill_(3.0)
    head.redraw(300, seeded(0))
    weight = head.linear.weight
    assert abs(float(weight.std()) - 0.01) < 1e-4  # 120,000 draws: standard error 2e-5
    assert abs(float(weight.mean())) < 2e-4
    assert float(head.linear.bias.abs().max()) == 0


def test_redraw_keeps_the_parameters_that_the_optimizer_holds():
    head = ClusterHead(8, 5)
    weight, bias = head.linear.weight, head.linear.bias
    places = weight.data_ptr(), bias.data_ptr()
    before = weight.detach().clone()
    head.redraw(3, seeded(0))
    assert head.linear.weight is weight and head.linear.bias is bias
    assert (weight.data_ptr(), bias.data_ptr()) == places
    assert weight.requires_grad and not torch.equal(weight, before)


def test_redraw_depends_on_the_generator_alone():
    first, second = ClusterHead(8, 5), ClusterHead(8, 9)
    first.redraw(4, seeded(7))
    torch.manual_seed(99)
    second.redraw(4, seeded(7))
    assert torch.equal(first.linear.weight[:4], second.linear.weight[:4])


def test_unused_rows_get_no_probability_and_no_gradient():
    head = ClusterHead(8, 6)
    head.redraw(4, seeded(0))
    logits = head(torch.randn(10, 8, generator=seeded(1)))
    assert logits.shape == (10, 4)
    torch.testing.assert_close(logits.softmax(1).sum(1), torch.ones(10))
    F.cross_entropy(logits, torch.arange(10) % 4).backward()
    gradient = head.linear.weight.grad
    assert gradient is not None and head.linear.bias.grad is not None
    assert float(gradient[4:].abs().max()) == 0 and float(head.linear.bias.grad[4:].abs().max()) == 0
    assert (gradient[:4].abs().sum(1) > 0).all()


def test_the_relu_belongs_to_the_head():
    head = ClusterHead(3, 2)
    head.redraw(2, seeded(0))
    features = torch.tensor([[-5.0, 2.0, -1.0]])
    expected = 2.0 * head.linear.weight[:, 1]
    torch.testing.assert_close(head(features)[0], expected)
    assert torch.equal(features, torch.tensor([[-5.0, 2.0, -1.0]]))  # not in place: features are wanted later


def test_the_rows_in_use_come_back_from_a_checkpoint(tmp_path):
    head = ClusterHead(8, 6)
    head.redraw(4, seeded(0))
    torch.save(head.state_dict(), tmp_path / "head.pt")
    other = ClusterHead(8, 6)
    other.load_state_dict(torch.load(tmp_path / "head.pt", weights_only=True))
    x = torch.randn(3, 8, generator=seeded(1))
    assert other.n_active == 4 and torch.equal(other(x), head(x))


def test_more_clusters_than_room_are_refused():
    with pytest.raises(ValueError, match="room for 6 clusters, got 7"):
        ClusterHead(8, 6).redraw(7, seeded(0))


@pytest.mark.parametrize("ks", [(5, 5, 5), (5, 3, 6)])
def test_one_optimizer_with_two_groups_trains_as_the_2018_two_optimizers_bit_for_bit(ks):
    torch.manual_seed(0)
    backbone = LeNet5(1, batch_norm=True, feature_dim=16)
    twin = copy.deepcopy(backbone)
    generator = seeded(3)
    cycles = []
    for cycle, k in enumerate(ks):
        batches = [
            (
                torch.randn(8, 1, 32, 32, generator=generator),
                torch.randint(k, (8,), generator=generator),
            )
            for _ in range(3)
        ]
        cycles.append((k, 100 + cycle, batches))
    settings = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3}
    top_layer = train_2018(twin, 16, cycles, **settings)

    head = ClusterHead(16, max(ks))
    optimizer = torch.optim.SGD(
        [{"params": backbone.parameters()}, {"params": head.parameters(), "momentum": 0.0}], **settings
    )
    for k, seed, batches in cycles:
        head.redraw(k, seeded(seed))
        for images, labels in batches:
            optimizer.zero_grad()
            F.cross_entropy(head(backbone(images)), labels).backward()
            optimizer.step()

    for name, value in backbone.state_dict().items():
        assert torch.equal(value, twin.state_dict()[name]), name
    assert torch.equal(head.linear.weight[: ks[-1]], top_layer.weight)
    assert torch.equal(head.linear.bias[: ks[-1]], top_layer.bias)
