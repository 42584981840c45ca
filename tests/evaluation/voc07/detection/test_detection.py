"""The detector, its training and evaluation=voc07_detection from start to end, on pictures of red and blue squares."""

import csv
from dataclasses import replace

import pytest
import torch
from support.voc_context import CARD, context, network
from support.voc_objects import write_annotation, write_squares

from deepcluster.evaluation.voc07.cut import Maps, Rest
from deepcluster.evaluation.voc07.detection.annotations import read_annotation
from deepcluster.evaluation.voc07.detection.detector import Detector, RegionMaps, default_stage
from deepcluster.evaluation.voc07.detection.evaluation import Voc07Detection
from deepcluster.evaluation.voc07.detection.training import target_of
from deepcluster.evaluation.voc07.settings import DetectionTraining
from deepcluster.models.alexnet import AlexNet
from deepcluster.models.coates import Coates
from deepcluster.models.resnet import resnet
from deepcluster.models.vgg import VGG16

FAST = DetectionTraining(n_iterations=6, lr=0.01, n_regions=16, state_every=2)


def asked(root, training=FAST, **changes) -> Voc07Detection:
    return Voc07Detection(
        **{"root": str(root), "short_side": 48, "max_side": 96, "n_proposals": 50, "num_workers": 1, **changes},
        training=training,
    )


def detector(backbone, stage, **changes) -> Detector:
    settings = replace(FAST, **changes)
    return Detector(backbone, stage, settings, short_side=64, n_proposals=20, dtype=torch.float32, seed=3)


@pytest.mark.parametrize(
    ("make", "stage", "side"),
    [
        (lambda: AlexNet(3, 127, channels=(4, 4, 4, 4, 8), hidden=16, feature_dim=8), "conv5", 7),
        (lambda: VGG16(3, 64, channels=(4,) * 13, hidden=16, feature_dim=8), "conv13", 4),
        (lambda: resnet("resnet18", 3, 96), "layer3", 6),
        (network, "conv2", 16),
    ],
)
def test_a_region_of_the_networks_own_size_goes_through_the_rest_as_an_image_would(make, stage, side):
    torch.manual_seed(0)
    backbone = make().eval()
    assert default_stage(backbone) == stage
    image = torch.randn(1, 3, backbone.image_size, backbone.image_size)
    maps, rest = Maps(backbone, stage, torch.float32), Rest(backbone, stage, torch.float32)
    assert maps(image).shape[2:] == (side, side)
    expected = backbone(image)
    whole = rest.eval()(maps(image))
    assert torch.allclose(whole, expected.relu() if stage in ("conv5", "conv13") else expected, atol=1e-5)


def test_the_stride_is_the_networks():
    torch.manual_seed(0)
    alexnet = AlexNet(3, 127, channels=(4, 4, 4, 4, 8), hidden=16, feature_dim=8)
    assert Maps(alexnet, "conv5", torch.float32).stride(3) == 16  # its maps of 127 px are 7 x 7: 127 / 7 is not it
    assert Maps(resnet("resnet18", 3, 96), "layer3", torch.float32).stride(3) == 16


def test_a_regions_maps_are_those_under_its_box():
    maps = torch.arange(64.0).view(1, 1, 8, 8)
    upper_left, right = torch.tensor([[0.0, 0.0, 16.0, 16.0]]), torch.tensor([[16.0, 0.0, 32.0, 16.0]])
    pooled = RegionMaps(4.0, 4)({"0": maps}, [torch.cat([upper_left, right])], [(32, 32)])
    inner = pooled[:, 0, 1:3, 1:3]  # at the border the interpolation ends
    assert torch.allclose(inner, torch.stack([maps[0, 0, 1:3, 1:3], maps[0, 0, 1:3, 5:7]]))


def test_difficult_objects_are_not_learned_from(tmp_path):
    write_annotation(tmp_path / "1.xml", (128, 96), [("dog", (1, 1, 64, 48), 0), ("car", (65, 49, 128, 96), 1)])
    target = target_of(read_annotation(tmp_path / "1.xml"), torch.zeros(3, 48, 64), mirrored=True)
    assert target["boxes"].tolist() == [[32, 0, 64, 24]] and target["labels"].tolist() == [12]
    write_annotation(tmp_path / "2.xml", (128, 96), [("car", (65, 49, 128, 96), 1)])
    none = target_of(read_annotation(tmp_path / "2.xml"), torch.zeros(3, 48, 64), mirrored=False)
    losses = detector(network(), "conv2").train().losses([torch.randn(3, 48, 64)], [none])
    assert all(torch.isfinite(loss) for loss in losses.values())


@pytest.mark.parametrize("mode", ["all", "fc6_8"])
def test_what_is_learned(mode):
    model = detector(network(), "conv2", mode=mode).train()
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    of_maps = {name for name, _ in model.named_parameters() if name.startswith("maps.")}
    assert frozen == (of_maps if mode == "fc6_8" else set()) and of_maps
    norms = [each for each in model.modules() if isinstance(each, torch.nn.BatchNorm2d)]
    assert len(norms) == 3 and not any(each.training for each in norms)


def test_only_the_networks_layers_compute_in_bf16():
    model = Detector(network(), "conv2", FAST, short_side=64, n_proposals=20, dtype=torch.bfloat16, seed=3).eval()
    image = torch.randn(3, 48, 64)
    maps = model.maps(image[None])
    exact = detector(network(), "conv2").eval()
    assert maps.dtype == torch.float32 and torch.equal(maps, maps.bfloat16().float())
    assert not torch.equal(maps, exact.maps(image[None]))
    assert model([image])[0]["boxes"].dtype == torch.float32


def rows(file):
    return list(csv.DictReader(file.open()))


def test_stopped_and_continued_is_not_stopped(tmp_path):
    """Dropout is none here, but regions are drawn at each step."""
    write_squares(tmp_path / "voc", 5, 3)
    straight = asked(tmp_path / "voc").run(context(tmp_path / "a", network()))
    with pytest.raises(KeyboardInterrupt):
        asked(tmp_path / "voc").run(context(tmp_path / "b", network(), stop_at=5))
    assert not (tmp_path / "b/voc07_detection.csv").exists()
    again = context(tmp_path / "b", network())
    assert asked(tmp_path / "voc", num_workers=0).run(again) == straight
    assert any("continuing after iteration 4 of 6" in line for line in again.progress.lines)
    assert (tmp_path / "a/detections.csv").read_text() == (tmp_path / "b/detections.csv").read_text()
    states = [torch.load(tmp_path / name / "voc07_detection.state")["content"]["network"] for name in "ab"]
    assert all(torch.equal(one, states[1][name]) for name, one in states[0].items())
    with pytest.raises(ValueError, match=r"its evaluation\.stage is 'conv2', now it is 'conv1'"):
        asked(tmp_path / "voc", stage="conv1").run(context(tmp_path / "b", network()))


@pytest.mark.slow
def test_squares_are_found_and_their_boxes_told_in_the_annotations_pixels(tmp_path):
    voc = write_squares(tmp_path / "voc", 24, 8)
    training = DetectionTraining(n_iterations=150, lr=0.03, n_regions=32, state_every=50, max_grad_norm=10.0)
    wanted = asked(tmp_path / "voc", training)
    made = context(tmp_path / "out", network())
    before = torch.get_rng_state()
    results = wanted.run(made)
    assert torch.equal(torch.get_rng_state(), before)
    assert results["map_area"] > 0.8 and results["map_11_point"] > 0.8
    assert results["n_train"] == 24 and results["n_test"] == 8
    by_class = {row["class"]: row for row in rows(tmp_path / "out/voc07_detection.csv")}
    assert by_class["car"]["n_objects"] == by_class["dog"]["n_objects"] == "4" and by_class["cow"]["ap_area"] == ""
    mean = (float(by_class["car"]["ap_area"]) + float(by_class["dog"]["ap_area"])) / 2
    assert results["map_area"] == pytest.approx(mean, abs=1e-6)
    best = max((row for row in rows(tmp_path / "out/detections.csv")), key=lambda row: float(row["score"]))
    own = read_annotation(voc / "Annotations" / f"{best['picture']}.xml").boxes[0]
    edges = torch.tensor([float(best[edge]) for edge in ("xmin", "ymin", "xmax", "ymax")])
    assert (edges - torch.tensor([1, 1, 0, 0]) - own).abs().max() < 20  # of 128 x 96; the squares' sides are 36 to 56


@pytest.mark.parametrize(
    ("backbone", "changes", "message"),
    [
        (lambda: Coates(3, 32, 4), {}, "no trainable weights, so it cannot be fine-tuned"),
        (network, {"stage": "layer3"}, "no stage 'layer3'; it has conv1, conv2, conv3"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, backbone, changes, message):
    write_squares(tmp_path / "voc", 3, 3)
    with pytest.raises(ValueError, match=message):
        asked(tmp_path / "voc", **changes).run(context(tmp_path / "out", backbone(), card=CARD))
    assert list((tmp_path / "out").iterdir()) == []


def test_sides_that_exclude_each_other_are_refused():
    with pytest.raises(ValueError, match=r"max_side=600 must be above evaluation\.short_side=600; raise it"):
        Voc07Detection(max_side=600)
