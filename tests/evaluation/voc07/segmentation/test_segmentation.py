"""The FCN, its pixels counted, and evaluation=voc07_segmentation from start to end, on red and blue squares."""

import csv
import math

import numpy as np
import pytest
import torch
from PIL import Image
from support.voc_context import CARD, context, network
from support.voc_objects import write_squares
from torch.nn import functional as F
from torchmetrics.classification import MulticlassJaccardIndex

from deepcluster.evaluation.voc07.classes import CLASSES
from deepcluster.evaluation.voc07.segmentation.evaluation import Voc07Segmentation
from deepcluster.evaluation.voc07.segmentation.fcn import FCN, convolutional_neck
from deepcluster.evaluation.voc07.segmentation.masks import read_mask
from deepcluster.evaluation.voc07.segmentation.overlap import confusion, intersections_over_unions, pixel_accuracy
from deepcluster.evaluation.voc07.segmentation.training import pixel_loss
from deepcluster.evaluation.voc07.settings import SegmentationTraining
from deepcluster.models.alexnet import AlexNet
from deepcluster.models.coates import Coates

FAST = SegmentationTraining(n_iterations=6, batch_size=2, lr=0.01, state_every=2)


def asked(root, training=FAST, **changes) -> Voc07Segmentation:
    return Voc07Segmentation(**{"root": str(root), "num_workers": 1, **changes}, training=training)


def alexnet() -> AlexNet:
    torch.manual_seed(0)
    return AlexNet(3, 95, channels=(4, 4, 4, 4, 8), hidden=16, feature_dim=8, sobel=True).eval()


def test_intersection_over_union_by_hand():
    mask = torch.tensor([[0, 0, 1], [1, 1, 255]])
    predicted = torch.tensor([[0, 1, 1], [1, 0, 7]])  # the 7 lies under void
    pixels = confusion(predicted, mask)
    values = intersections_over_unions(pixels)
    assert values[0] == pytest.approx(1 / 3) and values[1] == pytest.approx(2 / 4)
    assert all(map(math.isnan, values[2:])) and pixel_accuracy(pixels) == pytest.approx(3 / 5)


@pytest.mark.parametrize("seed", range(3))
def test_overlap_is_torchmetrics_and_a_plain_loops(seed):
    random = torch.Generator().manual_seed(seed)
    masks = torch.randint(0, 21, (3, 30, 40), generator=random)
    predicted = torch.where(torch.rand(masks.shape, generator=random) < 0.6, masks, torch.roll(masks, 1, 0))
    masks[torch.rand(masks.shape, generator=random) < 0.1] = 255
    values = intersections_over_unions(sum(confusion(p, m) for p, m in zip(predicted, masks, strict=True)))
    referee = MulticlassJaccardIndex(21, average="none", ignore_index=255)
    assert values == pytest.approx(referee(predicted, masks).tolist(), abs=1e-6)
    known = masks.numpy() != 255
    for label in range(21):
        true, given = masks.numpy()[known] == label, predicted.numpy()[known] == label
        assert values[label] == pytest.approx((true & given).sum() / (true | given).sum())


def test_linear_layers_as_convolutions_give_their_own_features_at_the_centre():
    """Where the kernel covers just the maps that the linear layer was made for."""
    backbone = alexnet()
    image = torch.randn(2, 3, 95, 95)
    maps = backbone.features(backbone.input_maps(image))
    side = maps.shape[2]
    neck = convolutional_neck(backbone.neck, tuple(maps.shape[1:])).eval()
    centre = side // 2
    assert torch.allclose(neck(maps)[:, :, centre, centre], backbone(image).relu(), atol=1e-5)


def test_scores_start_at_0_and_read_the_place_under_the_pixel():
    torch.manual_seed(0)
    fcn = FCN(network(), 2, FAST, torch.float32).eval()
    image = torch.randn(1, 3, 48, 64)
    assert not bool(fcn(image, 48, 64).any())
    for score in (fcn.score, *fcn.skip_scores):
        torch.nn.init.normal_(score.weight)
    scores = fcn(image, 48, 64)
    mirrored = fcn(image.flip(-1), 48, 64).flip(-1)
    # poolings and 3x3 kernels know no left or right but in their weights: a mirrored network sees the mirrored picture
    for convolution in (each for each in fcn.modules() if isinstance(each, torch.nn.Conv2d)):
        convolution.weight.data = convolution.weight.data.flip(-1)
    assert torch.allclose(fcn(image.flip(-1), 48, 64).flip(-1), scores, atol=1e-4)
    assert not torch.allclose(mirrored, scores, atol=1e-2)


@pytest.mark.parametrize("side", [95, 127])  # the neck's maps have 2 and 3 places: an even and an odd kernel
def test_an_alexnets_scores_are_not_moved_to_one_side(side):
    torch.manual_seed(0)
    backbone = AlexNet(3, side, channels=(4, 4, 4, 4, 8), hidden=16, feature_dim=8, sobel=False).eval()
    fcn = FCN(backbone, 1, FAST, torch.float32).eval()
    torch.nn.init.normal_(fcn.score.weight)
    image = torch.randn(1, 3, 223, 223)  # a size at which strides leave as much over on the right as on the left
    scores = fcn(image, 223, 223)
    for convolution in (each for each in fcn.modules() if isinstance(each, torch.nn.Conv2d)):
        convolution.weight.data = convolution.weight.data.flip(-1)
    assert torch.allclose(fcn(image.flip(-1), 223, 223).flip(-1), scores, atol=1e-4)


def test_the_loss_is_the_mean_over_pixels_that_are_not_void(tmp_path):
    voc = write_squares(tmp_path, 2, 2)
    mask = read_mask(voc / "SegmentationClass/000001.png")
    fcn = FCN(network(), 0, FAST, torch.float32).eval()
    torch.nn.init.normal_(fcn.score.weight)
    image = torch.randn(3, 24, 32)
    logs = F.log_softmax(fcn(image[None], 48, 64)[0], 0).detach()
    plain = [-float(logs[label, y, x]) for (y, x), label in np.ndenumerate(mask.numpy()) if label != 255]
    assert float(pixel_loss(fcn, image, False, mask)) == pytest.approx(sum(plain) / len(plain), rel=1e-4)
    assert float(pixel_loss(fcn, image, True, mask.flip(-1))) == pytest.approx(sum(plain) / len(plain), rel=1e-4)


@pytest.mark.parametrize("mode", ["all", "fc6_8"])
def test_what_is_learned(mode):
    fcn = FCN(alexnet(), 1, SegmentationTraining(mode=mode), torch.float32).train()
    frozen = {name for name, weight in fcn.named_parameters() if not weight.requires_grad}
    of_maps = {name for name, _ in fcn.named_parameters() if name.startswith("maps.")}
    assert frozen == (of_maps if mode == "fc6_8" else set()) and of_maps
    assert not any(each.training for each in fcn.modules() if isinstance(each, torch.nn.BatchNorm2d))
    assert all(each.training for each in fcn.modules() if isinstance(each, torch.nn.Dropout))


def test_stopped_and_continued_is_not_stopped(tmp_path):
    write_squares(tmp_path / "voc", 5, 3)
    card = CARD | {
        "arch": {"_target_": "deepcluster.models.alexnet.AlexNet", "channels": [4] * 5, "hidden": 16, "feature_dim": 8},
        "image_size": 95,
    }

    def run(folder, **changes):
        made = context(tmp_path / folder, alexnet(), card=card, **changes)
        return asked(tmp_path / "voc", short_side=96, compare_scratch=True).run(made)

    straight = run("a")
    for stop_at in (3, 8):  # within the first training and the untrained network's
        with pytest.raises(KeyboardInterrupt):
            run("b", stop_at=stop_at)
    assert run("b") == straight
    for name in ("voc07_segmentation", "voc07_segmentation_scratch"):
        states = [torch.load(tmp_path / folder / f"{name}.state")["content"]["network"] for folder in "ab"]
        assert all(torch.equal(one, states[1][key]) for key, one in states[0].items())


def test_an_untrained_networks_statistics_are_those_of_the_pictures(tmp_path):
    write_squares(tmp_path / "voc", 4, 2)
    asked(tmp_path / "voc", compare_scratch=True).run(context(tmp_path / "out", network()))
    state = torch.load(tmp_path / "out/voc07_segmentation_scratch.state")["content"]["network"]
    means = [value for name, value in state.items() if name.endswith("running_mean")]
    assert len(means) == 3 and all(bool(mean.any()) for mean in means)


@pytest.mark.slow
def test_squares_are_told_from_the_background(tmp_path):
    write_squares(tmp_path / "voc", 24, 8)
    training = SegmentationTraining(n_iterations=150, batch_size=4, lr=0.1, lr_drop_at=0.8, state_every=50)
    made = context(tmp_path / "out", network())
    before = torch.get_rng_state()
    results = asked(tmp_path / "voc", training, skips=2).run(made)
    assert torch.equal(torch.get_rng_state(), before)
    assert results["mean_iou"] > 0.7 and results["pixel_accuracy"] > 0.9
    rows = {row["class"]: row for row in csv.DictReader((tmp_path / "out/voc07_segmentation.csv").open())}
    assert list(rows) == ["background", *CLASSES] and rows["cow"]["iou"] == ""
    told = [float(row["iou"]) for row in rows.values() if row["iou"]]
    assert len(told) == 3 and results["mean_iou"] == pytest.approx(sum(told) / 3, abs=1e-6)
    assert any("left" in line for line in made.progress.lines)


def test_what_does_not_fit_is_refused_in_one_sentence(tmp_path):
    voc = write_squares(tmp_path / "voc", 3, 3)

    def refused(message, backbone=None, kind=ValueError, **changes):
        with pytest.raises(kind, match=message):
            asked(tmp_path / "voc", **changes).run(context(tmp_path / "out", backbone or network()))
        assert list((tmp_path / "out").iterdir()) == []

    refused("no trainable weights", Coates(3, 32, 4))
    refused(r"evaluation\.skips=3 must be at most 2", skips=3)
    refused(r"short side of 48 px are too small for this network; set evaluation\.short_side", alexnet())
    mask = voc / "SegmentationClass/000001.png"
    wrong = np.array(Image.open(mask))
    wrong[0, 0] = 37
    Image.fromarray(wrong).save(mask)
    refused(r"000001\.png has pixels of the class 37; VOC has 0 \(background\) to 20, and 255 \(void\)")
    Image.fromarray(np.full((48, 64), 255, dtype=np.uint8)).save(mask)
    refused(r"000001\.png is void everywhere; take it out of the list of train")
    Image.new("RGB", (64, 48)).save(mask)
    refused(r"000001\.png has colours \(RGB\) where VOC has a palette")
    mask.write_bytes(b"nothing")
    refused(r"000001\.png is damaged")
    mask.unlink()
    refused("1 of 3 pictures of train have no file in .*SegmentationClass, first 000001", kind=FileNotFoundError)
    (voc / "SegmentationClass").rename(voc / "moved")
    refused("has no folder SegmentationClass", kind=FileNotFoundError)
    (voc / "ImageSets/Segmentation").rename(voc / "lists")
    refused("holds no ImageSets/Segmentation with the lists of images", kind=FileNotFoundError)
