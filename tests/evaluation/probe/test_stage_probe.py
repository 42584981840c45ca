"""evaluation=linear_probe with the fast protocol: what is found, saved, resumed and refused."""

import csv
import statistics
from pathlib import Path

import pytest
import torch
from support import tiny, tiny_context

from deepcluster.data.images import MemoryImages
from deepcluster.data.views import FeatureView
from deepcluster.evaluation.classifier import load_classifier
from deepcluster.evaluation.probe.linear_probe import fit_probe
from deepcluster.evaluation.probe.recipes import LinearProbe
from deepcluster.evaluation.probe.stage_probe import StageProbe
from deepcluster.system.seeding import mix

QUICK = LinearProbe(epochs=4, batch_size=16, learning_rates=[0.01, 0.1])


def test_each_stage_is_probed_as_alone_and_by_hand(tmp_path: Path) -> None:
    context = tiny_context.context(tmp_path / "all")
    results = StageProbe(stages="all", linear_probe=QUICK).run(context)
    assert set(results) == {"n_images", "linear_probe_accuracy_conv1", "linear_probe_accuracy_conv2"}
    alone = StageProbe(stages=["conv2"], linear_probe=QUICK).run(tiny_context.context(tmp_path / "one"))
    assert alone["linear_probe_accuracy_conv2"] == results["linear_probe_accuracy_conv2"]
    # conv1's 6x12x12 = 864 numbers are not pooled
    x = [
        context.backbone.stage((part.images.float() / 255 - 0.5) / 0.25, "conv1").flatten(1).detach()
        for part in (context.train_images, context.test_images)
    ]
    y = [context.train_images.labels, context.test_images.labels]
    by_hand = fit_probe(x[0], y[0], x[1], y[1], QUICK, seed=mix(context.seed, "probe"))
    # features were kept in 16 bits: one of the 32 test images may change sides
    assert results["linear_probe_accuracy_conv1"] == pytest.approx(by_hand.accuracy, abs=1.01 / 32)
    assert by_hand.accuracy > 0.4  # chance is 0.25


def test_little_memory_costs_passes_and_changes_nothing(tmp_path: Path) -> None:
    once, twice = (tiny_context.context(tmp_path / name) for name in ("once", "twice"))
    # 96 images x 864 and x 64 numbers in 16 bits: 0.166 and 0.012 MB
    both = [
        StageProbe(stages="all", linear_probe=QUICK, memory_gb=gb).run(context)
        for context, gb in ((once, 1.0), (twice, 0.00017))
    ]
    assert both[0] == both[1]
    passes = [sum("features" in bar for bar in context.progress.bars) for context in (once, twice)]
    assert passes == [2, 4]


def test_a_saved_classifier_gives_its_accuracy_again(tmp_path: Path) -> None:
    for protocol in ("fast", "original"):
        context = tiny_context.context(tmp_path / protocol)
        settings = StageProbe(stages=["conv1", "features"], protocol=protocol, linear_probe=QUICK, max_features=100)
        settings.original.epochs, settings.original.batch_size = 2, 16
        results = settings.run(context)
        test = context.test_images
        assert isinstance(test, MemoryImages) and test.labels is not None
        for name in ("conv1", "features"):
            classifier = load_classifier(tmp_path / protocol / f"linear_probe_{name}.pt")
            assert classifier.classes == ["a", "b", "c", "d"]
            pixels = FeatureView(16, classifier.resize, tiny.MEAN, tiny.STD)(test.images)
            answers = classifier(context.backbone, pixels).argmax(1)
            again = float((answers == test.labels).float().mean())
            assert classifier.accuracy == results[f"linear_probe_accuracy_{name}"]
            assert again == pytest.approx(classifier.accuracy, abs=1.01 / 32 if protocol == "fast" else 1e-6)


def test_what_is_no_classifier_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.pt"
    with pytest.raises(FileNotFoundError):
        load_classifier(file)
    file.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="damaged"):
        load_classifier(file)
    torch.save({"weight": torch.zeros(1)}, file)
    with pytest.raises(ValueError, match="not a classifier saved by evaluation=linear_probe"):
        load_classifier(file)


def test_stages_that_are_done_are_not_probed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = StageProbe(stages=["conv2"], linear_probe=QUICK).run(tiny_context.context(tmp_path))
    again = tiny_context.context(tmp_path)
    monkeypatch.setattr(type(again), "feature_pass", lambda *_, **__: pytest.fail("features computed again"))
    assert StageProbe(stages=["conv2"], linear_probe=QUICK).run(again) == first
    monkeypatch.undo()
    for settings, context in (
        (StageProbe(stages=["conv2"], linear_probe=LinearProbe(epochs=3)), tiny_context.context(tmp_path)),
        (StageProbe(stages=["conv2"], linear_probe=LinearProbe(epochs=3)), tiny_context.context(tmp_path, seed=4)),
    ):
        settings.run(context)
        assert any("features" in bar for bar in context.progress.bars)


def test_seeds_give_mean_and_deviation(tmp_path: Path) -> None:
    results = StageProbe(linear_probe=QUICK, n_seeds=3, max_images=40).run(tiny_context.context(tmp_path))
    with (tmp_path / "linear_probe.csv").open() as file:
        rows = list(csv.DictReader(file))
    accuracies = [float(row["accuracy"]) for row in rows]
    assert len(accuracies) == 3 and results["n_images"] == 40
    assert results["linear_probe_accuracy_conv2"] == pytest.approx(statistics.fmean(accuracies))
    assert results["linear_probe_accuracy_std_conv2"] == pytest.approx(statistics.stdev(accuracies))
    assert rows[0]["pooling"] == "none" and rows[0]["n_features"] == "64"


def test_a_set_that_cannot_be_probed_is_refused(tmp_path: Path) -> None:
    context = tiny_context.context(tmp_path)
    context.train_images.labels = None
    with pytest.raises(ValueError, match=r"cannot be measured: .* two classes are needed, there are 0 labelled"):
        StageProbe().run(context)
    colour = tiny_context.context(tmp_path)
    colour.train_images = MemoryImages(
        images=torch.zeros(20, 3, 16, 16, dtype=torch.uint8), samples=["x"] * 20, labels=torch.arange(20) % 2
    )
    with pytest.raises(ValueError, match=r"the network takes 1 channels, .* has 3"):
        StageProbe().run(colour)


@pytest.mark.parametrize(
    "wrong",
    [
        {"protocol": "new"},
        {"max_features": 0},
        {"max_images": 3},
        {"n_seeds": 0},
        {"test_share": 1.0},
        {"memory_gb": 0.0},
        {"stages": [3]},
    ],
)
def test_wrong_settings_are_refused_with_their_key(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=rf"evaluation.{next(iter(wrong))}"):
        StageProbe(**wrong)  # type: ignore[arg-type]
