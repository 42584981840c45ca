"""The 2018 protocol: its steps against a plain twin, exact resume, what is reported, ten crops."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from reference.probe_2018 import train_probe_2018
from support import tiny, tiny_context
from support.images_of import images_of
from torch import nn

from deepcluster.evaluation import supervised
from deepcluster.evaluation.classifier import load_classifier
from deepcluster.evaluation.probe.probe_views import ten_crops
from deepcluster.evaluation.probe.recipes import OriginalProbe
from deepcluster.evaluation.probe.stage_probe import StageProbe
from deepcluster.system.seeding import generator, mix

# without room and flips every epoch sees the same images
PLAIN = OriginalProbe(epochs=3, batch_size=20, lr=0.05, weight_decay=0.1, resize=16, flip=False)


def moving() -> OriginalProbe:
    return OriginalProbe(epochs=4, batch_size=20)


def run(folder: Path, settings: OriginalProbe, **options: object) -> dict[str, float]:
    return StageProbe(protocol="original", original=settings, **options).run(tiny_context.context(folder))  # type: ignore[arg-type]


def test_the_training_is_a_plain_twins_on_the_same_batches(tmp_path: Path) -> None:
    run(tmp_path, PLAIN, stages="all")
    context = tiny_context.context(tmp_path)
    seed = mix(context.seed, "original probe", 0)
    orders = [torch.randperm(64, generator=generator(seed, "order", epoch)) for epoch in range(3)]
    batches = [rows for order in orders for rows in torch.split(order, 20)]
    pixels = (context.train_images.images.float() / 255 - 0.5) / 0.25
    for name in ("conv1", "conv2"):
        x = context.backbone.stage(pixels, name).flatten(1).detach()
        torch.manual_seed(mix(seed, "layer", name))
        layer = nn.Linear(x.shape[1], 4)
        train_probe_2018(layer, x, context.train_images.labels, batches, lr=0.05, wd=0.1)
        saved = load_classifier(tmp_path / f"linear_probe_{name}.pt")
        torch.testing.assert_close(saved.weight, layer.weight.detach(), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(saved.bias, layer.bias.detach(), atol=1e-5, rtol=1e-4)


def test_the_backbone_stays_frozen_and_in_eval_mode(tmp_path: Path) -> None:
    context = tiny_context.context(tmp_path)
    before = {name: value.clone() for name, value in context.backbone.state_dict().items()}
    StageProbe(protocol="original", original=moving()).run(context)
    assert all(torch.equal(value, before[name]) for name, value in context.backbone.state_dict().items())
    assert not context.backbone.training


def test_two_epochs_a_stop_and_two_more_are_four(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(tmp_path / "whole", moving(), stages="all", n_seeds=2)
    train_epoch = supervised.Supervised._train

    def killed_in_the_third(self: supervised.Supervised, batches: object, start: int, end: int) -> float:
        loss = train_epoch(self, batches, start, end)  # type: ignore[arg-type]
        if start == 2 * self.batches.n_per_epoch:
            raise tiny.Killed
        return loss

    monkeypatch.setattr(supervised.Supervised, "_train", killed_in_the_third)
    with pytest.raises(tiny.Killed):
        run(tmp_path / "parts", moving(), stages="all", n_seeds=2)
    monkeypatch.undo()
    context = tiny_context.context(tmp_path / "parts")
    torch.manual_seed(99)  # the global state has no say
    settings = StageProbe(protocol="original", original=moving(), stages="all", n_seeds=2)
    assert settings.run(context) == whole
    assert "probe: continuing after epoch 2 of 4" in context.progress.lines
    for name in ("conv1", "conv2"):
        ours, theirs = (load_classifier(tmp_path / f / f"linear_probe_{name}.pt") for f in ("parts", "whole"))
        assert torch.equal(ours.weight, theirs.weight) and torch.equal(ours.bias, theirs.bias)
    names = ("linear_probe_epochs.csv", "linear_probe.csv")
    assert all((tmp_path / "parts" / n).read_text() == (tmp_path / "whole" / n).read_text() for n in names)


def test_more_seeds_are_added_and_another_trainings_state_is_not_written_over(tmp_path: Path) -> None:
    two = run(tmp_path / "two", moving(), n_seeds=2)
    assert "linear_probe_accuracy_std_conv2" in two
    one = run(tmp_path / "one", moving())
    assert "linear_probe_accuracy_std_conv2" not in one  # one seed tells no deviation
    first = (tmp_path / "one/linear_probe_original_0.state").stat().st_mtime_ns
    assert run(tmp_path / "one", moving(), n_seeds=2) == two
    with pytest.raises(
        ValueError,
        match=r"linear_probe_original_0\.state was written .* evaluation\.original\.epochs is 4",
    ):
        run(tmp_path / "one", OriginalProbe(epochs=5, batch_size=20))
    assert (tmp_path / "one/linear_probe_original_0.state").stat().st_mtime_ns == first


def test_a_stage_is_trained_as_if_alone(tmp_path: Path) -> None:
    both, alone = run(tmp_path / "both", moving(), stages="all"), run(tmp_path / "alone", moving(), stages="conv2")
    assert both["linear_probe_accuracy_conv2"] == alone["linear_probe_accuracy_conv2"]
    files = [load_classifier(tmp_path / name / "linear_probe_conv2.pt").weight for name in ("both", "alone")]
    torch.testing.assert_close(*files)


def test_the_last_epoch_counts_and_the_best_is_named_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    curve = iter([0.5, 0.9, 0.25, 0.75])
    found = "deepcluster.evaluation.probe.original.accuracies"
    monkeypatch.setattr(found, lambda *_, **__: {"conv2": {"accuracy": next(curve)}})
    results = run(tmp_path, moving())
    assert results["linear_probe_accuracy_conv2"] == 0.75
    assert results["linear_probe_best_test_epoch_conv2"] == 0.9


def test_without_a_test_each_epoch_there_is_one_at_the_end(tmp_path: Path) -> None:
    settings = OriginalProbe(epochs=4, batch_size=20, test_each_epoch=False)
    results = run(tmp_path / "last", settings)
    assert results == {k: v for k, v in run(tmp_path / "each", moving()).items() if "best" not in k}


def test_ten_crops_are_answered_by_their_mean_softmax(tmp_path: Path) -> None:
    settings = OriginalProbe(epochs=1, batch_size=20, resize=19, ten_crops=True)
    results = run(tmp_path, settings)
    context = tiny_context.context(tmp_path)
    test = context.test_images
    resized = torch.nn.functional.interpolate(test.images.float(), size=19, mode="bilinear", antialias=True)
    crops = (ten_crops(resized, 16) / 255 - 0.5) / 0.25
    classifier = load_classifier(tmp_path / "linear_probe_conv2.pt")
    chances = sum(classifier(context.backbone, crops[:, i]).softmax(1) for i in range(10))
    accuracy = float((chances.argmax(1) == test.labels).float().mean())
    assert results["linear_probe_accuracy_conv2"] == pytest.approx(accuracy)


@pytest.mark.parametrize("ten", [False, True])
def test_it_reads_files_of_different_sizes(tmp_path: Path, ten: bool) -> None:
    pixels = tiny_context.part(slice(0, 24)).images
    for split in ("train", "test"):
        for i, image in enumerate(pixels[:, 0].numpy()):
            file = tmp_path / "images" / split / f"class{i % 2}" / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).resize((18 + i % 3, 20)).save(file)
    data = images_of(
        "folder",
        root=str(tmp_path / "images"),
        n_channels=1,
        in_memory="never",
        num_workers=1,
        cache_dir="none",
    )
    context = tiny_context.context(tmp_path / "out", data=data, in_memory=False)
    settings = OriginalProbe(epochs=2, batch_size=8, ten_crops=ten)
    results = StageProbe(protocol="original", original=settings).run(context)
    assert results["n_images"] == 24
    assert 0 <= results["linear_probe_accuracy_conv2"] <= 1


def test_crops_are_cut_from_eight_sevenths_where_the_network_leaves_no_room() -> None:
    assert OriginalProbe().side(224, 256) == 256
    assert OriginalProbe().side(224, 224) == OriginalProbe().side(224, None) == 256
    assert OriginalProbe().side(32, None) == 37
    assert OriginalProbe(resize=40).side(32, 36) == 40
    with pytest.raises(ValueError, match=r"evaluation.original.resize=20 is smaller than .* 32 pixels"):
        OriginalProbe(resize=20).side(32, None)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": 0}, {"lr": 0.0}, {"weight_decay": -1.0}])
def test_wrong_settings_are_refused_with_their_key(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=rf"evaluation.original.{next(iter(wrong))}"):
        OriginalProbe(**wrong)  # type: ignore[arg-type]
