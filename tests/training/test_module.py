"""The supervised step: what its noise depends on, what its optimizer is told, what it counts."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support import tiny
from torch import Tensor, nn
from torch.nn import functional as F

from deepcluster.models.heads import LinearHead
from deepcluster.system.seeding import mix
from deepcluster.training.beside import BesideHeads
from deepcluster.training.module import Crops, DeepClusterModule
from deepcluster.training.optimizer import SGDSettings


class Noise(nn.Module):
    """Draws what a layer of dropout would, and remembers it."""

    feature_dim = 4

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.drawn: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.drawn.append(torch.rand(8))
        return images.flatten(1) * self.scale


def module(
    *, epoch: int = 0, rank: int = 0, seed: int = 1, beside: BesideHeads | None = None, **optimizer: Any
) -> DeepClusterModule:
    """At this place of a run, without a Trainer."""
    trainer = SimpleNamespace(
        gradient_clip_val=None,
        max_epochs=4,
        max_steps=-1,
        limit_train_batches=1.0,
        accumulate_grad_batches=1,
        datamodule=SimpleNamespace(loader=range(10)),
    )
    kind = type("Placed", (DeepClusterModule,), {"current_epoch": epoch, "global_rank": rank, "trainer": trainer})
    view: Any = SimpleNamespace(n_large=1)
    torch.manual_seed(0)
    placed: DeepClusterModule = kind(
        Noise(),
        LinearHead(4, [3]),
        view=view,
        optimizer=SGDSettings(**optimizer),
        seed=seed,
        card=tiny.CARD,
        beside=beside,
    )
    placed.take_labels([torch.arange(30) % 3])
    return placed


def batch(indices: list[int]) -> Crops:
    images = torch.randn(30, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    chosen = torch.tensor(indices)
    return Crops([images[chosen]], chosen)


def noise(batch_idx: int, *, state: int = 0, **place: int) -> Tensor:
    placed = module(**place)
    torch.manual_seed(state)
    placed.training_step(batch([0, 1]), batch_idx)
    assert isinstance(placed.backbone, Noise)
    return placed.backbone.drawn[0]


def test_dropouts_noise_is_that_of_manual_seed_with_seed_epoch_batch_and_rank() -> None:
    drawn = noise(3, seed=5, epoch=2, rank=1)
    torch.manual_seed(mix(5, "dropout", 2, 3, 1))
    assert torch.equal(drawn, torch.rand(8))
    assert torch.equal(drawn, noise(3, seed=5, epoch=2, rank=1, state=99))  # whatever was drawn before
    places = [(3, 6, 2, 1), (3, 5, 1, 1), (2, 5, 2, 1), (3, 5, 2, 0)]
    others = [noise(n, seed=seed, epoch=epoch, rank=rank) for n, seed, epoch, rank in places]
    assert not any(torch.equal(drawn, other) for other in others)


def test_backbone_and_head_have_their_own_momentum_and_all_decays() -> None:
    placed = module(lr=0.2, momentum=0.8, head_momentum=0.3, weight_decay=0.01)
    placed.backbone.register_parameter("frozen", nn.Parameter(torch.zeros(1), requires_grad=False))
    backbone, head = placed.configure_optimizers().param_groups
    assert [id(p) for p in backbone["params"]] == [id(placed.backbone.scale)]
    assert [id(p) for p in head["params"]] == [id(p) for p in placed.head.parameters()]
    assert (backbone["momentum"], head["momentum"]) == (0.8, 0.3)
    assert all((group["lr"], group["weight_decay"]) == (0.2, 0.01) for group in (backbone, head))


def test_a_resume_in_mid_epoch_counts_what_was_counted_before_on_one_process() -> None:
    whole, first = module(), module()
    for n, indices in enumerate([[0, 1, 2], [3, 4], [5]]):
        whole.training_step(batch(indices), n)
        if n < 2:
            first.training_step(batch(indices), n)
    checkpoint: dict[str, Any] = {}
    first.on_save_checkpoint(checkpoint)
    resumed, other = module(), module(rank=1)
    for placed in (resumed, other):
        placed.on_load_checkpoint(checkpoint)
    resumed.training_step(batch([5]), 2)
    assert resumed.epoch_metrics(over_ranks=True) == whole.epoch_metrics(over_ranks=True)
    assert other.train_metrics.sums.tolist() == [0, 0, 0]


def test_the_cosine_falls_step_by_step_to_0_at_the_end_of_training() -> None:
    made = module(lr=0.2, schedule="cosine").configure_optimizers()
    assert made["lr_scheduler"]["interval"] == "step"
    rates = []
    for _ in range(40):
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
        rates.append(made["optimizer"].param_groups[1]["lr"])
    assert rates[19] == pytest.approx(0.1) and rates[39] == pytest.approx(0, abs=1e-9)


def test_the_epochs_figures_are_means_over_its_images_and_start_anew_with_each_epoch() -> None:
    placed = module()
    assert placed.epoch_metrics(over_ranks=False) == {}
    with torch.no_grad():
        placed.head.linear.weight.normal_(generator=torch.Generator().manual_seed(1))
    for n, indices in enumerate([[0, 1, 2, 3, 4, 5, 6], [7, 8]]):
        placed.training_step(batch(indices), n)

    @torch.no_grad()
    def expected(indices: list[int]) -> dict[str, float]:
        logits, labels = placed.head(batch(indices).crops[0].flatten(1)), torch.tensor(indices) % 3
        right = int((logits.argmax(1) == labels).sum())
        return {"train/loss": float(F.cross_entropy(logits, labels)), "train/accuracy": right / len(indices)}

    assert placed.epoch_metrics(over_ranks=False) == pytest.approx(expected(list(range(9))))
    type(placed).current_epoch = 1  # type: ignore[assignment,method-assign]  # of a stand-in
    assert placed.epoch_metrics(over_ranks=False) == {}
    placed.training_step(batch([9, 10, 11]), 0)
    assert placed.epoch_metrics(over_ranks=False) == pytest.approx(expected([9, 10, 11]))


def test_images_without_a_label_count_nowhere() -> None:
    placed, rest = module(), module()
    assert placed.pseudo_labels is not None
    labels = placed.pseudo_labels[0].clone()
    labels[[1, 4]] = -1
    placed.take_labels([labels])
    placed.training_step(batch([0, 1, 2, 4]), 0)
    rest.training_step(batch([0, 2]), 0)
    assert placed.epoch_metrics(over_ranks=False) == pytest.approx(rest.epoch_metrics(over_ranks=False))
    none = module()
    none.take_labels([torch.full((30,), -1)])
    none.training_step(batch([0, 1]), 0)
    assert none.epoch_metrics(over_ranks=False) == {}


def with_a_head_beside(epoch: int) -> DeepClusterModule:
    """Its loss counts half in epoch 1 and nothing later."""
    placed = module(epoch=epoch, beside=BesideHeads(4, [2], weight=1.0, fade_epochs=2.0))
    assert placed.beside is not None
    placed.beside.take_labels([torch.arange(30) % 2], torch.device("cpu"))
    return placed


def loss_beside(placed: DeepClusterModule, indices: list[int]) -> float:
    assert placed.beside is not None
    logits = placed.beside.heads[0](batch(indices).crops[0].flatten(1))
    return float(F.cross_entropy(logits, torch.tensor(indices) % 2))


def test_the_loss_of_heads_beside_is_told_apart_and_before_its_weight() -> None:
    placed, alone = with_a_head_beside(1), module(epoch=1)
    parts = [[0, 1, 2, 3, 4], [5, 6]]
    losses = [float(placed.training_step(batch(indices), n).detach()) for n, indices in enumerate(parts)]
    own = [float(alone.training_step(batch(indices), n).detach()) for n, indices in enumerate(parts)]
    for loss, mine, indices in zip(losses, own, parts, strict=True):
        assert loss == pytest.approx(mine + 0.5 * loss_beside(placed, indices))
    means = placed.epoch_metrics(over_ranks=False)
    assert means.pop("train/loss_beside") == pytest.approx(loss_beside(placed, [0, 1, 2, 3, 4, 5, 6]))
    assert means == alone.epoch_metrics(over_ranks=False) and len(alone.train_metrics.sums) == 3


def test_a_checkpoint_that_lacks_the_loss_beside_leaves_only_its_epochs_unknown() -> None:
    before, resumed = module(epoch=1), with_a_head_beside(1)
    before.training_step(batch([0, 1]), 0)
    checkpoint: dict[str, Any] = {}
    before.on_save_checkpoint(checkpoint)
    resumed.on_load_checkpoint(checkpoint)
    resumed.training_step(batch([2, 3]), 1)
    assert resumed.epoch_metrics(over_ranks=False).keys() == {"train/loss", "train/accuracy"}
    type(resumed).current_epoch = 2  # type: ignore[assignment,method-assign]  # of a stand-in
    resumed.training_step(batch([4, 5]), 0)
    told = resumed.epoch_metrics(over_ranks=False)["train/loss_beside"]
    assert told == pytest.approx(loss_beside(resumed, [4, 5]))
