"""Fine-tuning on VOC: against a plain twin, exact continuation, and what is learned and what not."""

import csv
import math
from dataclasses import replace
from itertools import islice

import pytest
import torch
from support.voc_context import Told
from support.voc_folder import red_and_train
from torch import nn
from torch.nn import functional as F

from deepcluster.data.views import TrainView
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.supervised import TrainingBatches
from deepcluster.evaluation.voc07.classifier import Classifier, masked_loss
from deepcluster.evaluation.voc07.fine_tuning import Voc07
from deepcluster.evaluation.voc07.lists import read_split
from deepcluster.evaluation.voc07.settings import FineTuning
from deepcluster.evaluation.voc07.training import fine_tune
from deepcluster.features.settings import Extraction
from deepcluster.models.alexnet import SmallAlexNet
from deepcluster.models.lenet import LeNet5
from deepcluster.models.resnet import resnet
from deepcluster.weights.recognise import Weights

CARD = {"arch": {}, "in_channels": 3, "image_size": 16, "resize": None, "mean": [0.5] * 3, "std": [0.25] * 3}
FAST = FineTuning(n_iterations=9, batch_size=5, lr=0.05, state_every=4)  # an epoch has 5 batches


def network(seed: int = 0, in_channels: int = 3) -> LeNet5:
    torch.manual_seed(seed)
    return LeNet5(in_channels, 16, batch_norm=True).eval()


def tuned(folder, backbone, settings, *, voc, workers=0, seed=1, stop_at=None):
    split = read_split(voc, "train", backbone.in_channels)
    mean, std = [0.5] * backbone.in_channels, [0.25] * backbone.in_channels
    view = TrainView(16, settings.crop_scale, settings.crop_ratio, settings.flip, mean, std, on_files=True)
    folder.mkdir(exist_ok=True)
    return fine_tune(
        backbone,
        split,
        view,
        settings,
        folder=folder,
        seed=seed,
        num_workers=workers,
        device=torch.device("cpu"),
        progress=Told(stop_at),
    )


def same(one: nn.Module, two: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


@pytest.fixture
def voc(tmp_path):
    return red_and_train(tmp_path)


def test_the_loss_is_summed_over_classes_and_difficult_labels_do_not_count():
    logits = torch.tensor([[2.0, -1.0, 9.0], [0.0, 3.0, 0.5]], requires_grad=True)
    labels = torch.tensor([[1, 0, -1], [0, -1, 1]], dtype=torch.int8)
    loss = masked_loss(logits, labels)
    by_hand = [math.log1p(math.exp(-2)), math.log1p(math.exp(-1)), math.log(2), math.log1p(math.exp(-0.5))]
    assert loss.item() == pytest.approx(sum(by_hand) / 2, rel=1e-6)
    loss.backward()
    assert logits.grad is not None and (logits.grad == 0).tolist() == [[False, False, True], [False, True, False]]


def test_the_rate_is_halved_every_5000_iterations():
    settings = FineTuning()
    assert [settings.rate(i) for i in (0, 4_999, 5_000, 10_000)] == [0.003, 0.003, 0.0015, 0.00075]
    assert settings.rate(79_999) == 0.003 / 2**15


@pytest.mark.parametrize("mode", ["fc6_8", "all"])
def test_training_is_that_of_a_plain_loop(tmp_path, voc, mode):
    """SGD, momentum, weight decay, clipping and the rate, written out for the same batches."""
    settings = replace(FAST, mode=mode, max_grad_norm=0.5, weight_decay=0.01, lr_halved_every=3)
    split = read_split(voc, "train", 3)
    view = TrainView(16, [0.1, 0.5], [1.0, 1.0], True, [0.5] * 3, [0.25] * 3, on_files=True)
    plain = Classifier(network(), 2, settings, seed=1).train()
    learned = [weight for weight in plain.parameters() if weight.requires_grad]
    speed = [torch.zeros_like(weight) for weight in learned]
    n_clipped = 0
    batches = TrainingBatches(split.images, torch.arange(24), view, batch_size=5, num_workers=0, seed=1)
    for number, batch in enumerate(islice(batches.start_at(0), 9)):
        logits = plain(view(batch.images, batch.draws))
        targets = split.labels[batch.indices].float()
        losses = F.softplus(-logits) * (targets == 1) + F.softplus(logits) * (targets == 0)
        gradients = torch.autograd.grad(losses.sum() / len(targets), learned)
        length = torch.sqrt(sum((gradient**2).sum() for gradient in gradients))
        n_clipped += bool(length > 0.5)
        with torch.no_grad():
            for weight, velocity, gradient in zip(learned, speed, gradients, strict=True):
                velocity.mul_(0.9).add_(gradient * min(1.0, 0.5 / float(length)) + 0.01 * weight)
                weight.sub_(0.05 * 0.5 ** (number // 3) * velocity)
    assert number == 8 and n_clipped > 0
    trained = tuned(tmp_path / "run", network(), settings, voc=voc)
    for name, value in trained.state_dict().items():
        assert torch.allclose(value, plain.state_dict()[name], atol=1e-5), name


@pytest.mark.parametrize("stop_at", [4, 5, 8])  # an epoch has 5 batches (the last one of 4 images), a state each 4
def test_stopped_and_continued_is_not_stopped(tmp_path, voc, stop_at):
    def dropping():
        torch.manual_seed(0)
        return SmallAlexNet(3, 16, channels=(4, 4, 4, 4, 4), hidden=16, feature_dim=8, sobel=False).eval()

    straight = tuned(tmp_path / "straight", dropping(), FAST, voc=voc)
    with pytest.raises(KeyboardInterrupt):
        tuned(tmp_path / "stopped", dropping(), FAST, voc=voc, workers=2, stop_at=stop_at)
    assert same(tuned(tmp_path / "stopped", dropping(), FAST, voc=voc, workers=2), straight)
    # more iterations than at first asked for, and none left
    tuned(tmp_path / "longer", dropping(), replace(FAST, n_iterations=6), voc=voc)
    assert same(tuned(tmp_path / "longer", dropping(), FAST, voc=voc), straight)
    assert same(tuned(tmp_path / "longer", dropping(), FAST, voc=voc), straight)
    assert not same(tuned(tmp_path / "other", dropping(), FAST, voc=voc, seed=2), straight)


def test_the_global_random_state_is_left_alone(tmp_path, voc):
    backbone = network()
    before = torch.get_rng_state()
    weights = {name: value.clone() for name, value in backbone.state_dict().items()}
    tuned(tmp_path / "run", backbone, FAST, voc=voc)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, weights[name]) for name, value in backbone.state_dict().items())


@pytest.mark.parametrize(("mode", "train_batchnorm"), [("fc6_8", False), ("fc6_8", True), ("all", True)])
def test_what_is_learned(tmp_path, voc, mode, train_batchnorm):
    settings = replace(FAST, mode=mode, train_batchnorm=train_batchnorm)
    start = Classifier(network(), 2, settings, seed=1).state_dict()
    end = tuned(tmp_path / "run", network(), settings, voc=voc).state_dict()
    changed = {name for name in end if not torch.equal(start[name], end[name])}
    linear = {f"backbone.neck.{layer}.{part}" for layer in ("fc1", "fc2") for part in ("weight", "bias")}
    norms = {f"backbone.features.{stage}.1.{part}" for stage in ("conv1", "conv2") for part in ("weight", "bias")}
    convolutions = {
        f"backbone.features.{stage}.0.{part}" for stage in ("conv1", "conv2") for part in ("weight", "bias")
    }
    expected = {"head.weight", "head.bias"} | linear
    expected |= norms if train_batchnorm or mode == "all" else set()
    expected |= convolutions if mode == "all" else set()
    assert changed == expected  # so the running statistics of BatchNorm stay, in every mode


def test_linear_layers_start_afresh_and_convolutions_do_not():
    backbone = SmallAlexNet(3, 16, channels=(4, 4, 4, 4, 4), hidden=256, feature_dim=128)
    model = Classifier(backbone, 20, FineTuning(), seed=3)
    for layer in (model.backbone.neck.fc1, model.backbone.neck.fc2):
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.05) and set(layer.bias.tolist()) == {
            float(torch.tensor(0.1))
        }
    assert model.head.weight.abs().max().item() == pytest.approx(128**-0.5, rel=0.01)  # torch's law
    assert model.head.bias.tolist() == pytest.approx([0.1] * 20)
    assert same(model.backbone.features, backbone.features) and model.with_relu
    assert model.train().training and not model.backbone.features.training and model.backbone.neck.drop1.training


def test_a_resnets_features_are_read_as_they_come():
    torch.manual_seed(0)
    backbone = resnet("resnet18", 3, 16, tap="layer1").eval()
    model = Classifier(backbone, 2, FineTuning(train_batchnorm=False), seed=1).eval()
    images = torch.randn(2, 3, 16, 16)
    assert {name for name, weight in model.named_parameters() if weight.requires_grad} == {"head.weight", "head.bias"}
    assert torch.allclose(model(images), backbone(images) @ model.head.weight.T + model.head.bias, atol=1e-6)


def test_the_state_of_another_training_is_refused(tmp_path, voc):
    tuned(tmp_path / "run", network(), FAST, voc=voc)
    for change, message in (
        ({"lr": 0.1}, r"its evaluation\.training\.lr is 0\.05, now it is 0\.1; choose another output_dir"),
        ({"mode": "all"}, "mode is 'fc6_8'"),
        ({"n_iterations": 3}, r"has trained 9 iterations already, .*n_iterations=3 is less"),
    ):
        with pytest.raises(ValueError, match=message):
            tuned(tmp_path / "run", network(), replace(FAST, **change), voc=voc)
    with pytest.raises(ValueError, match="its weights is"):
        tuned(tmp_path / "run", network(seed=5), FAST, voc=voc)
    with pytest.raises(ValueError, match="its seed is 1"):
        tuned(tmp_path / "run", network(), FAST, voc=voc, seed=2)


def test_a_rate_that_diverges_is_told(tmp_path, voc):
    with pytest.raises(ValueError, match=r"the loss is .* lower evaluation\.training\.lr=1e\+30"):
        tuned(tmp_path / "run", network(), replace(FAST, lr=1e30, n_iterations=30), voc=voc)
    assert not (tmp_path / "run/voc07.state").exists()


@pytest.mark.parametrize("bad", [{"mode": "fc7"}, {"lr": 0.0}, {"crop_scale": [0.5, 0.1]}, {"n_iterations": 0}])
def test_settings_that_cannot_be_are_refused(bad):
    with pytest.raises(ValueError, match=rf"evaluation\.training\.{next(iter(bad))}"):
        FineTuning(**bad)


def context(folder, backbone, card=CARD) -> EvaluationContext:
    folder.mkdir(exist_ok=True)
    return EvaluationContext(
        backbone=backbone,
        stored=Weights(path=folder / "x.ckpt", format="test", tensors={}, card=card),
        data_settings=None,
        extraction=Extraction(),
        folder=folder,
        seed=1,
        progress=Told(),
        device=torch.device("cpu"),
    )


def test_red_images_are_learned_and_found(tmp_path):
    voc = red_and_train(tmp_path, n=36)
    settings = FineTuning(n_iterations=60, lr=0.1, lr_halved_every=30, linear_std=0.1, state_every=1000)
    for test_crops in ("random", "fixed"):  # the second time everything is learned already
        asked = Voc07(root=str(tmp_path), training=settings, test_crops=test_crops, num_workers=0)
        results = asked.run(context(tmp_path / "out", network()))
        rows = {row["class"]: row for row in csv.DictReader((tmp_path / "out/voc07.csv").open())}
        assert float(rows["red"]["ap_step"]) > 0.95 and float(rows["train"]["ap_step"]) < 0.9
        # image 4 is difficult for red, "train" does not name image 5
        assert rows["red"]["n_images"] == rows["train"]["n_images"] == "35" and rows["red"]["n_positive"] == "12"
        mean = (float(rows["red"]["ap_11_point"]) + float(rows["train"]["ap_11_point"])) / 2
        assert results["map_11_point"] == pytest.approx(mean, abs=1e-6)
        assert (results["n_train"], results["n_test"], results["n_iterations"]) == (36, 36, 60)
    (voc / "JPEGImages/001007.jpg").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"is damaged \('JPEGImages/001007\.jpg'.*\); unpack it again"):
        asked.run(context(tmp_path / "out", network()))
    (voc / "JPEGImages/001007.jpg").unlink()
    (voc / "JPEGImages/001007.jpg").mkdir()
    with pytest.raises(ValueError, match=r"cannot be read \('JPEGImages/001007\.jpg'.*\); put it back$"):
        asked.run(context(tmp_path / "out", network()))


def test_a_network_of_grey_images_reads_colour_files(tmp_path):
    red_and_train(tmp_path)
    card = CARD | {"in_channels": 1, "mean": [0.5], "std": [0.25]}
    results = Voc07(root=str(tmp_path), training=FAST, num_workers=0).run(
        context(tmp_path / "out", network(in_channels=1), card)
    )
    assert 0 < results["map_11_point"] <= 1
