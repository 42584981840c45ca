import math

import pytest
import torch
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as TF

from deepcluster.data.crops import central_crop, crop, draw_boxes, square
from deepcluster.data.views import draw

SCALE, RATIO = (0.08, 1.0), (0.75, 4 / 3)


@pytest.mark.parametrize(
    ("height", "width", "scale", "ratio"),
    [
        (32, 32, SCALE, RATIO),
        (375, 500, SCALE, RATIO),
        (40, 200, SCALE, RATIO),  # some draws fail ten times: the central crop
        (500, 60, (0.3, 1.0), (0.5, 2.0)),
        (7, 5, (0.5, 1.0), (0.5, 2.0)),  # half a pixel counts
        (64, 64, (0.2, 0.6), (1.0, 1.0)),
        (64, 48, (0.5, 0.5), (0.8, 1.2)),
        (50, 400, (0.9, 1.0), (1.0, 1.1)),  # no try can fit
    ],
)
def test_boxes_follow_torchvisions_law(height, width, scale, ratio):
    n = 4000
    boxes = draw_boxes(draw(n, torch.Generator().manual_seed(0)), height, width, scale, ratio)
    torch.manual_seed(0)
    image = torch.empty(3, height, width)
    theirs = torch.tensor([RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(n)])
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] >= 1).all()
    assert (boxes[:, 0] + boxes[:, 2] <= height).all() and (boxes[:, 1] + boxes[:, 3] <= width).all()
    noise = torch.rand(n, generator=torch.Generator().manual_seed(1)) * 1e-3  # no ties for the test
    for facts in (
        lambda b: b[:, 0].float(),
        lambda b: b[:, 1].float(),
        lambda b: b[:, 2].float(),
        lambda b: b[:, 3].float(),
        lambda b: b[:, 2] * b[:, 3] / (height * width),
        lambda b: b[:, 3] / b[:, 2],
        lambda b: (b[:, 0] + b[:, 2]).float(),
    ):
        assert ks_2samp((facts(boxes) + noise).numpy(), (facts(theirs) + noise).numpy()).pvalue > 1e-3


@pytest.mark.parametrize(("side", "size"), [(28, 32), (32, 32), (32, 24), (61, 16), (20, 64)])
def test_crops_are_torchvisions_resized_crop(side, size):
    generator = torch.Generator().manual_seed(side)
    images = torch.randint(0, 256, (16, 3, side, side + 3), dtype=torch.uint8, generator=generator)
    if side < size:
        images = images[..., :side]
    boxes = draw_boxes(draw(16, generator), images.shape[2], images.shape[3], SCALE, RATIO)
    flipped = torch.arange(16) % 2 == 0
    crops = crop(images, boxes, flipped, size)
    for image, (top, left, height, width), flip, ours in zip(images, boxes.tolist(), flipped, crops, strict=True):
        theirs = TF.resized_crop(image.float(), top, left, height, width, [size, size], antialias=True)
        assert (ours - (theirs.flip(-1) if flip else theirs)).abs().max() < 2e-3


@pytest.mark.parametrize(("height", "width"), [(28, 28), (20, 50), (61, 40), (44, 44), (300, 31)])
def test_the_central_crop_is_torchvisions_resize_and_center_crop(height, width):
    images = torch.randint(0, 256, (3, 3, height, width), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    expected = TF.center_crop(TF.resize(images.float(), [44], antialias=True), [32, 32])
    assert (central_crop(images.float(), 44, 32) - expected).abs().max() < 1e-3
    assert (square(images, 44, 32).float() - expected).abs().max() <= 1.01  # rounded to 8 bits, per axis


@pytest.mark.parametrize(("height", "width"), [(20, 400), (20, 401), (999, 13), (3, 50), (100, 1700), (1, 40)])
@pytest.mark.parametrize(("resize", "size"), [(44, 32), (32, 32), (20, 16)])
def test_a_strip_is_cut_before_it_is_resized_and_looks_the_same(height, width, resize, size):
    images = torch.randint(0, 256, (2, 3, height, width), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    expected = TF.center_crop(TF.resize(images.float(), [resize], antialias=True), [size, size])
    assert (central_crop(images.float(), resize, size) - expected).abs().max() < 2e-2  # of 255
    assert (square(images, resize, size).float() - expected).abs().max() <= 0.53  # rounded once
    assert square(images[0], resize, size).equal(square(images, resize, size)[0])


def test_a_strip_of_20_000_pixels_takes_no_gigabytes():
    from resource import RUSAGE_SELF, getrusage

    strip = torch.zeros(3, 20, 20_000, dtype=torch.uint8)
    strip[:, :, 10_000:] = 200
    before = getrusage(RUSAGE_SELF).ru_maxrss
    shown = square(strip, 2048, 2048)
    assert getrusage(RUSAGE_SELF).ru_maxrss - before < 1_000_000, "kB; all of it resized would be 12 GB"
    assert (shown[:, :, :900] == 0).all() and (shown[:, :, -900:] == 200).all()


def test_draws_at_their_ends_give_boxes_inside_the_image():
    for value in (0.0, 1 - 2**-24):
        for height, width in ((1, 1), (1, 300), (7, 5), (4096, 3)):
            top, left, tall, wide = draw_boxes(torch.full((1, 6), value), height, width, SCALE, RATIO)[0].tolist()
            assert 0 <= top <= height - tall and 0 <= left <= width - wide and tall >= 1 and wide >= 1


def test_the_mean_area_is_the_laws_integral():
    boxes = draw_boxes(draw(20_000, torch.Generator().manual_seed(3)), 1000, 1000, SCALE, RATIO)
    # uniform area and log ratio given area * max(ratio, 1 / ratio) <= 1, integrated on a grid
    area = torch.linspace(0.08, 1, 2001, dtype=torch.float64)[:, None]
    log_ratio = torch.linspace(math.log(0.75), math.log(4 / 3), 2001, dtype=torch.float64)
    fits = (area * log_ratio.abs().exp() <= 1).double()
    expected = float((area * fits).sum() / fits.sum())
    assert (boxes[:, 2] * boxes[:, 3]).double().mean().item() / 1e6 == pytest.approx(expected, abs=0.006)
