"""evaluation=transfer: what is trained, saved, resumed and compared."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny, tiny_context
from torch.nn import functional as F

from deepcluster.data.view_settings import View
from deepcluster.evaluation import supervised
from deepcluster.evaluation.probe.class_scores import accuracies
from deepcluster.evaluation.probe.transfer import Transfer
from deepcluster.models.alexnet import SmallAlexNet
from deepcluster.weights import load_backbone

CPU = torch.device("cpu")
SHORT = {"epochs": 4, "min_steps": 0, "batch_size": 16}


def kept(file: Path) -> dict[str, Any]:
    """What a training left in a file."""
    content: dict[str, Any] = torch.load(file, weights_only=True)["content"]
    return content


def test_fine_tuning_learns_the_labels(tmp_path: Path) -> None:
    results = Transfer(epochs=25, min_steps=0, batch_size=16).run(tiny_context.context(tmp_path))
    assert results["n_labels"] == 64 and results["transfer_epochs"] == 25
    assert results["transfer_accuracy"] > 0.8  # chance is 0.25
    assert "transfer_top5_accuracy" not in results  # four classes


def test_the_saved_network_is_the_one_that_was_tested_and_starts_others(tmp_path: Path) -> None:
    context = tiny_context.context(tmp_path)
    before = {name: value.clone() for name, value in context.backbone.state_dict().items()}
    results = Transfer(**SHORT).run(context)
    assert all(torch.equal(value, before[name]) for name, value in context.backbone.state_dict().items())
    backbone, card = load_backbone(tmp_path / "finetuned.ckpt")
    assert card == context.card and not backbone.training
    assert not torch.equal(backbone.features.conv1[0].weight, context.backbone.features.conv1[0].weight)
    line = torch.load(tmp_path / "finetuned.ckpt", weights_only=True)["classifier"]
    test = context.test_images
    with torch.no_grad():
        features = backbone((test.images.float() / 255 - 0.5) / 0.25)
    answers = F.linear(features.relu(), line["weight"], line["bias"]).argmax(1)
    assert float((answers == test.labels).float().mean()) == pytest.approx(results["transfer_accuracy"])


def context_with_dropout(folder: Path) -> tiny_context.EvaluationContext:
    context = tiny_context.context(folder)
    arch = {"_target_": "deepcluster.models.alexnet.SmallAlexNet", "channels": [4] * 5, "hidden": 8, "feature_dim": 8}
    context.stored.card = {**tiny.CARD, "arch": arch}
    torch.manual_seed(0)
    context.backbone = SmallAlexNet(1, 16, channels=[4] * 5, hidden=8, feature_dim=8).eval()
    return context


def test_two_epochs_a_stop_and_two_more_are_four(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Transfer(**SHORT, compare_scratch=True, label_share=0.5)
    whole = settings.run(context_with_dropout(tmp_path / "whole"))
    train_epoch = supervised.Supervised._train

    def killed(self: supervised.Supervised, batches: object, start: int, end: int) -> float:
        if start == 2 * self.batches.n_per_epoch and self.title == "from scratch":
            raise tiny.Killed
        return train_epoch(self, batches, start, end)  # type: ignore[arg-type]

    monkeypatch.setattr(supervised.Supervised, "_train", killed)
    with pytest.raises(tiny.Killed):
        settings.run(context_with_dropout(tmp_path / "parts"))
    monkeypatch.undo()
    torch.manual_seed(77)
    context = context_with_dropout(tmp_path / "parts")
    assert settings.run(context) == whole
    assert "from scratch: continuing after epoch 2 of 4" in context.progress.lines
    for name in ("transfer_0.state", "scratch_0.state"):
        ours, theirs = (kept(tmp_path / f / name)["network"] for f in ("parts", "whole"))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_more_seeds_are_added_and_another_trainings_state_is_not_written_over(tmp_path: Path) -> None:
    both = Transfer(**SHORT, compare_scratch=True, n_seeds=2).run(tiny_context.context(tmp_path / "both"))
    folder = tmp_path / "one_by_one"
    Transfer(**SHORT).run(tiny_context.context(folder))
    first = (folder / "transfer_0.state").stat().st_mtime_ns
    assert Transfer(**SHORT, compare_scratch=True, n_seeds=2).run(tiny_context.context(folder)) == both
    with pytest.raises(
        ValueError,
        match=r"transfer_0\.state was .* its evaluation\.label_share is 1\.0, .* output_dir",
    ):
        Transfer(**SHORT, label_share=0.5).run(tiny_context.context(folder))
    assert (folder / "transfer_0.state").stat().st_mtime_ns == first


def test_the_cosine_ends_where_the_steps_end_if_a_single_image_joins_the_last_batch(tmp_path: Path) -> None:
    settings = Transfer(epochs=1, min_steps=6, batch_size=21)  # 64 images: 3 batches, the last of 22
    context = tiny_context.context(tmp_path)
    assert settings.run(context)["transfer_epochs"] == 2
    assert isinstance(context.progress, tiny_context.Told)
    why = "for 2 epochs (evaluation.epochs=1 has fewer steps than evaluation.min_steps=6)"
    assert why in context.progress.lines[0]
    state = kept(tmp_path / "transfer_0.state")
    assert state["steps"] == 6
    head = state["optimizer"]["param_groups"][1]
    assert head["lr"] == pytest.approx(settings.rate(settings.lr, 5, 6))


def test_scratch_is_another_start_by_the_same_recipe(tmp_path: Path) -> None:
    results = Transfer(**SHORT, compare_scratch=True, n_seeds=2).run(tiny_context.context(tmp_path))
    assert {"transfer_accuracy", "transfer_accuracy_std", "scratch_accuracy", "scratch_accuracy_std"} < set(results)
    states = [kept(tmp_path / f"{s}_0.state") for s in ("transfer", "scratch")]
    first = "backbone.features.conv1.0.weight"
    trained = tiny_context.lenet().state_dict()["features.conv1.0.weight"]
    moved = [float((state["network"][first] - trained).norm()) for state in states]
    assert moved[0] < 0.5 * moved[1]
    lines = (tmp_path / "transfer.csv").read_text().splitlines()
    assert lines[0] == "start,seed,epoch,loss,accuracy" and len(lines) == 1 + 2 * 2 * 4


def test_the_rates_are_those_of_head_and_backbone_and_fall_along_a_cosine(tmp_path: Path) -> None:
    settings = Transfer(**SHORT, lr=0.2, backbone_lr=0.05)
    settings.run(tiny_context.context(tmp_path))
    groups = kept(tmp_path / "transfer_0.state")["optimizer"]["param_groups"]
    assert [group["initial_lr"] for group in groups] == [0.05, 0.2]
    # 16 steps; the last is at 15/16 of the cosine: (1 + cos(pi 15/16)) / 2 = 0.009607
    assert [group["lr"] for group in groups] == pytest.approx([0.05 * 0.009607, 0.2 * 0.009607], rel=1e-3)
    constant = Transfer(schedule="constant")
    assert constant.rate(0.3, 7, 10) == 0.3


def test_few_labels_are_passed_over_more_often() -> None:
    assert Transfer(epochs=20, min_steps=200, batch_size=64).n_epochs(50) == 200
    assert Transfer(epochs=20, min_steps=200, batch_size=64).n_epochs(5000) == 20
    assert Transfer(epochs=20, min_steps=200, batch_size=64).n_epochs(500) == 25


def test_top_5_of_ten_classes_by_hand() -> None:
    images = tiny.images(4)
    images.labels = torch.tensor([0, 4, 5, 9])

    class Descending(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"x": torch.arange(10.0, 0, -1).expand(len(pixels), 10)}  # best 0, then 1, 2, 3, 4

    view = tiny.feature_view(View(size=16), images, tiny.MEAN, tiny.STD)
    found = accuracies(Descending(), images, torch.arange(4), view, batch_size=3, num_workers=0, device=CPU)
    assert found == {"x": {"accuracy": 0.25, "top5_accuracy": 0.5}}


def test_a_diverging_training_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the loss is .* in epoch 1: .* lower evaluation\.lr=1e\+30"):
        Transfer(**{**SHORT, "lr": 1e30, "backbone_lr": 1e30}).run(tiny_context.context(tmp_path))


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_size": 1},
        {"lr": 0.0},
        {"backbone_lr": 0.0},
        {"momentum": 1.0},
        {"weight_decay": -1.0},
        {"schedule": "step"},
        {"label_share": 0.0},
        {"label_share": 1.5},
        {"n_seeds": 0},
        {"test_share": 0.0},
    ],
)
def test_wrong_settings_are_refused_with_their_key(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=rf"evaluation.{next(iter(wrong))}"):
        Transfer(**wrong)  # type: ignore[arg-type]
