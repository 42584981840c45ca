"""Rates, groups of weights and frozen stages; every optimizer resumes exactly."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny
from torch import nn

from deepcluster.models.heads import LinearHead, NewClusters
from deepcluster.models.lenet import LeNet5
from deepcluster.training.optimizer import AdamWSettings, LARSSettings, OptimizerSettings, SGDSettings
from deepcluster.training.optimizers import LearningRate, weight_groups

KINDS: dict[str, OptimizerSettings] = {
    "sgd": SGDSettings(warmup_epochs=1.5, frozen_stages=1, head_momentum=0.5),
    "adamw": AdamWSettings(schedule="cosine", warmup_epochs=1.5, layer_decay=0.5),
    "lars": LARSSettings(schedule="cosine", warmup_epochs=0.5, warmup_start_share=0.1, final_share=0.1),
}
EACH = pytest.mark.parametrize("kind", KINDS)


def test_the_rate_rises_over_the_warm_up_and_falls_along_the_cosine_to_its_end() -> None:
    settings = SGDSettings(schedule="cosine", final_share=0.2, warmup_epochs=2, warmup_start_share=0.5)
    share = partial(settings.share_of_lr, n_steps=100, steps_per_epoch=10)
    assert [share(step) for step in (0, 10, 20, 60, 100, 101)] == pytest.approx([0.5, 0.75, 1, 0.6, 0.2, 0.2])
    constant = partial(SGDSettings(warmup_epochs=1).share_of_lr, n_steps=100, steps_per_epoch=10)
    assert [constant(step) for step in (0, 5, 10, 99)] == [0, 0.5, 1, 1]


def sgd_of(rate: float) -> torch.optim.SGD:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=rate)


def test_the_cosine_is_torchs_and_goes_on_from_a_checkpoint_that_holds_torchs() -> None:
    ours, theirs = sgd_of(0.2), sgd_of(0.2)
    share = partial(SGDSettings(schedule="cosine").share_of_lr, n_steps=40, steps_per_epoch=10)
    rate, cosine = LearningRate(ours, share), torch.optim.lr_scheduler.CosineAnnealingLR(theirs, T_max=40)
    for step in range(40):
        ours.step(), theirs.step()
        rate.step(), cosine.step()
        assert ours.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"], abs=1e-12)
        if step == 20:
            resumed = sgd_of(0.2)
            LearningRate(resumed, share).load_state_dict(cosine.state_dict())
            assert resumed.param_groups[0]["lr"] == ours.param_groups[0]["lr"]


def groups(settings: OptimizerSettings) -> dict[str, dict[str, Any]]:
    """What the optimizer is told of each weight, by its name."""
    network = nn.ModuleDict({"backbone": LeNet5(1, 16, batch_norm=True), "head": LinearHead(84, [3])})
    made = weight_groups(network["backbone"], [], network["head"], settings)  # type: ignore[arg-type]
    names = {weight: name for name, weight in network.named_parameters()}
    told = {names[weight]: group for group in made for weight in group["params"]}
    assert told.keys() == set(names.values())
    return told


def test_norms_and_biases_decay_only_by_choice() -> None:
    for settings in (AdamWSettings(weight_decay=0.1), LARSSettings(weight_decay=0.1)):
        told = groups(settings)
        assert {told[name]["weight_decay"] for name in told if not name.endswith("weight")} == {0.0}
        assert told["backbone.features.conv1.1.weight"]["weight_decay"] == 0.0  # BatchNorm
        assert told["backbone.features.conv1.0.weight"]["weight_decay"] == told["head.linear.weight"]["weight_decay"]
        assert told["head.linear.weight"]["weight_decay"] == 0.1
    assert {group["weight_decay"] for group in groups(SGDSettings(weight_decay=0.1)).values()} == {0.1}
    assert (
        not groups(LARSSettings())["head.linear.bias"]["adapts"]
        and groups(LARSSettings())["head.linear.weight"]["adapts"]
    )


def test_each_stage_learns_more_slowly_than_the_one_behind_it() -> None:
    told = groups(SGDSettings(lr=0.8, layer_decay=0.5))
    names = ("features.conv1.0.weight", "features.conv1.1.bias", "features.conv2.0.bias", "neck.fc3.weight")
    rates = [told[f"backbone.{name}"]["lr"] for name in names if f"backbone.{name}" in told]
    neck = {group["lr"] for name, group in told.items() if ".neck." in name}
    assert rates[:3] == [0.1, 0.1, 0.2] and neck == {0.4} and told["head.linear.weight"]["lr"] == 0.8


def test_each_optimizer_has_the_numbers_of_its_settings() -> None:
    weights = [{"params": [nn.Parameter(torch.ones(2))]}]
    lars = LARSSettings(lr=0.3, momentum=0.5, trust_coefficient=0.02).build(weights, fused=False).defaults
    assert (lars["lr"], lars["momentum"], lars["trust_coefficient"]) == (0.3, 0.5, 0.02)
    adamw = AdamWSettings(lr=0.3, betas=[0.8, 0.9]).build(weights, fused=False).defaults
    assert (adamw["lr"], adamw["betas"]) == (0.3, (0.8, 0.9))


@EACH
def test_killed_in_an_epoch_it_resumes_exactly(kind: str, tmp_path: Path) -> None:
    settings = KINDS[kind]
    whole = tiny.build(tmp_path / "whole", optimizer=settings).fit()
    with pytest.raises(tiny.Killed):
        tiny.build(tmp_path, every_n_steps=1, kill_after=(1, 3), optimizer=settings).fit()
    resumed = tiny.build(tmp_path, optimizer=settings).fit(resume=True)
    ours, theirs = resumed.weights(), whole.weights()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    rates = [[group["lr"] for group in run.trainer.optimizers[0].param_groups] for run in (resumed, whole)]
    assert rates[0] == rates[1]


@EACH
def test_gradients_are_clipped_under_mixed_precision(kind: str, tmp_path: Path) -> None:
    norms: list[float] = []
    run = tiny.build(
        tmp_path, max_epochs=1, optimizer=KINDS[kind], trainer={"gradient_clip_val": 0.01, "precision": "bf16-mixed"}
    )

    def look(trainer: Any, number: int) -> None:
        gradients = [p.grad for p in run.module.parameters() if p.grad is not None]
        norms.append(float(torch.stack([gradient.norm() for gradient in gradients]).norm()))

    run.seen.on_batch = look
    run.fit()
    assert len(norms) == 6 and max(norms) == pytest.approx(0.01, rel=1e-3)


@EACH
def test_a_head_drawn_anew_has_no_state_of_the_old_one(kind: str, tmp_path: Path) -> None:
    run = tiny.build(tmp_path, max_epochs=1, optimizer=KINDS[kind]).fit()
    head, state = run.module.head.linear.weight, run.trainer.optimizers[0].state
    assert state[head]
    run.module.follow([NewClusters(tiny.K, torch.zeros(tiny.K, 8), torch.Generator(), is_first=False)])
    assert head not in state and run.module.backbone.features.conv2[0].weight in state


def test_adamw_counts_the_steps_of_a_head_from_its_redraw(tmp_path: Path) -> None:
    steps: list[float] = []

    def look(trainer: Any, number: int) -> None:
        states = [state for state in trainer.optimizers[0].state.values() if state["exp_avg"].shape == (tiny.K, 84)]
        steps.append(float(states[0]["step"]))

    tiny.build(tmp_path, max_epochs=2, on_batch=look, optimizer=KINDS["adamw"]).fit()
    assert steps == [1, 2, 3, 4, 5, 6] * 2


@pytest.mark.parametrize("frozen", [1, ["conv1"]])
def test_frozen_stages_stay_with_their_statistics_and_the_others_learn(tmp_path: Path, frozen: Any) -> None:
    run = tiny.build(tmp_path, max_epochs=1, optimizer=SGDSettings(frozen_stages=frozen))
    before = run.weights()
    after = run.fit().weights()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    in_backbone = {name for name in moved if name.startswith("backbone")}
    assert in_backbone == {
        n for n in before if n.startswith("backbone") and not n.startswith("backbone.features.conv1")
    }


def test_a_stage_that_the_network_lacks_is_told(tmp_path: Path) -> None:
    for frozen, told in [(3, "at most 2"), (["conv9"], "no stage conv9; this network has conv1, conv2")]:
        with pytest.raises(ValueError, match=f"optimizer.frozen_stages=.*{told}"):
            tiny.build(tmp_path, optimizer=SGDSettings(frozen_stages=frozen))
