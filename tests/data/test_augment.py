import pytest
import torch
from reference.colours import augmented
from torchvision.transforms.v2 import functional as TF

from deepcluster.data.augment import N_DRAWS, Augmentation, augmentation, blur, blur_radius
from deepcluster.data.shrunk import whole
from deepcluster.data.view_settings import View
from deepcluster.data.views import TrainView, draw, train_view

STRONG = {
    "color_jitter": [0.8, 0.8, 0.8, 0.2],
    "jitter_probability": 0.8,
    "grey_probability": 0.2,
    "blur_probability": 0.5,
    "blur_sigma": [0.1, 2.0],
}
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]


def pictures(n, side, channels=3, seed=0):
    """Pixels with all that makes hue hard: pure colours, greys, black, white, ties between channels."""
    pixels = torch.randint(0, 256, (n, channels, side, side), generator=torch.Generator().manual_seed(seed))
    pixels[:, :, 0, 0], pixels[:, :, 0, 1], pixels[:, :, 0, 2] = 0, 255, 77
    if channels == 3:
        for column, colour in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 200, 200), (50, 50, 3), (8, 3, 8)]):
            pixels[:, :, 1, column] = torch.tensor(colour)
    return pixels.to(torch.uint8)


def uniforms(n, seed=0):
    return torch.rand(n, N_DRAWS, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("n", "side"), [(64, 32), (12, 61)])
def test_each_image_is_torchvisions_with_its_own_parameters(n, side, channels):
    images, draws = pictures(n, side, channels).float() / 255, uniforms(n)
    made = Augmentation(**STRONG)
    ours = made(images.clone(), draws)
    kernel = 2 * blur_radius(side) + 1
    theirs = torch.stack(
        [augmented(image, made.parameters(draws[i : i + 1]), kernel) for i, image in enumerate(images)]
    )
    assert (ours - theirs).abs().max() < 2e-5
    changed = (ours - images).abs().amax((1, 2, 3)) > 0.01
    assert 0.75 < changed.float().mean() < 1  # most, and not all


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_channels_that_are_no_colours_keep_saturation_and_hue(channels):
    images = pictures(16, 12, channels).float() / 255
    assert torch.equal(Augmentation([0, 0, 0.8, 0.5], 1.0, 1.0, 0.0, [0.1, 2.0])(images.clone(), uniforms(16)), images)


def test_brightness_and_contrast_change_all_channels_alike():
    image = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5]).view(1, 5, 1, 1).expand(1, 5, 8, 8)
    draws = torch.full((1, N_DRAWS), 0.25)  # factors 1 - 0.4 / 2 = 0.8
    brighter = Augmentation([0.4, 0, 0, 0], 1.0, 0.0, 0.0, [0.1, 2.0])(image.clone(), draws)
    assert brighter[0, :, 3, 3].tolist() == pytest.approx([0.08, 0.16, 0.24, 0.32, 0.4])
    flatter = Augmentation([0, 0.4, 0, 0], 1.0, 0.0, 0.0, [0.1, 2.0])(image.clone(), draws)
    assert flatter[0, :, 3, 3].tolist() == pytest.approx([0.14, 0.22, 0.3, 0.38, 0.46])  # 0.8 x + 0.2 * 0.3


@pytest.mark.parametrize("turn", [-0.5, -0.2, 0.0, 0.1, 1 / 3, 0.5])
def test_the_hue_turns_as_torchvisions(turn):
    images = pictures(4, 16).float() / 255
    made = Augmentation([0, 0, 0, 0.5], 1.0, 0.0, 0.0, [0.1, 2.0])
    draws = torch.full((4, N_DRAWS), 0.5)
    draws[:, 5] = turn + 0.5
    ours = made(images.clone(), draws)
    assert (ours - TF.adjust_hue(images, turn)).abs().max() < 2e-5
    if turn == 1 / 3:  # red to green, green to blue
        assert torch.allclose(ours[0, :, 1, :2], torch.tensor([[0.0, 0], [1, 0], [0, 1]]), atol=1e-5)


def test_the_parameters_follow_simclrs_law():
    parameters = Augmentation(**STRONG).parameters(uniforms(40_000))
    for share, expected in ((parameters.jittered, 0.8), (parameters.grey, 0.2), (parameters.blurred, 0.5)):
        assert share.float().mean().item() == pytest.approx(expected, abs=0.012)
    for column, (low, high) in enumerate([(0.2, 1.8), (0.2, 1.8), (0.2, 1.8), (-0.2, 0.2)]):
        quantiles = torch.quantile(parameters.factors[:, column], torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))
        expected = low + torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]) * (high - low)
        assert (quantiles - expected).abs().max() < 0.02 * (high - low)
    assert 0.1 <= parameters.sigma.min() < 0.11 and 1.99 < parameters.sigma.max() <= 2.0
    orders = torch.unique(parameters.order, dim=0, return_counts=True)[1]
    assert len(orders) == 24 and orders.min() > 0.85 * 40_000 / 24 and orders.max() < 1.15 * 40_000 / 24
    strong = Augmentation([2.0, 0, 0, 0], 1.0, 0, 0, [0.1, 2.0]).parameters(uniforms(5000)).factors[:, 0]
    assert 0 <= strong.min() < 0.01 and 2.99 < strong.max() <= 3  # never below 0


def test_a_blurred_point_is_the_gaussian():
    point = torch.zeros(2, 1, 61, 61)
    point[:, :, 30, 30] = 1.0
    blurred = blur(point, torch.tensor([0.5, 1.0]))
    radius = blur_radius(61)
    distances = torch.arange(-radius, radius + 1.0)
    for image, sigma in zip(blurred, (0.5, 1.0), strict=True):
        bell = torch.exp(-(distances**2) / (2 * sigma**2))
        bell /= bell.sum()
        assert torch.allclose(image[0, 30 - radius : 31 + radius, 30 - radius : 31 + radius], torch.outer(bell, bell))
        assert image.sum().item() == pytest.approx(1, abs=1e-6)
    assert [blur_radius(side) for side in (16, 32, 96, 224)] == [1, 1, 4, 11]  # SimCLR: kernels of a tenth


def test_the_crops_numbers_are_the_same_with_and_without_colours():
    plain, colours = (draw(50, torch.Generator().manual_seed(3), colours=colours) for colours in (False, True))
    assert plain.shape == (50, 6) and colours.shape == (50, 6 + N_DRAWS)
    assert torch.equal(colours[:, :6], plain)
    batch = pictures(50, 32)
    options = (32, [0.08, 1.0], [0.75, 4 / 3], True, MEAN, STD)
    nothing = Augmentation([0, 0, 0, 0], 1.0, 0.0, 0.0, [0.1, 2.0])
    assert (
        TrainView(*options)(batch, plain) - TrainView(*options, augmentation=nothing)(batch, colours)
    ).abs().max() < 1e-5


def test_an_augmented_image_depends_on_itself_and_its_draws_only():
    batch, draws = pictures(16, 32), draw(16, torch.Generator().manual_seed(0), colours=True)
    view = TrainView(32, [0.08, 1.0], [0.75, 4 / 3], True, MEAN, STD, augmentation=Augmentation(**STRONG))
    alone = torch.cat([view(batch[i : i + 1], draws[i : i + 1]) for i in range(16)])
    assert (view(batch, draws) - alone).abs().max() < 1e-4
    assert not torch.allclose(view(batch, draws), view(batch, draws.roll(1, 0)), atol=0.1)
    assert batch.equal(pictures(16, 32))  # the set's own images are not written to


def test_colours_come_after_crop_and_flip_and_before_normalisation():
    batch, draws = pictures(16, 32), draw(16, torch.Generator().manual_seed(0), colours=True)
    options = (32, [0.08, 1.0], [0.75, 4 / 3], True)
    made = Augmentation(**STRONG)
    cropped = TrainView(*options, [0.0] * 3, [1.0] * 3)(batch, draws[:, :6])  # in [0, 1]
    expected = TF.normalize(made(cropped, draws[:, 6:]), MEAN, STD)
    assert (TrainView(*options, MEAN, STD, augmentation=made)(batch, draws) - expected).abs().max() < 1e-4


def test_crops_of_workers_get_the_same_colours():
    batch, draws = pictures(16, 40), draw(16, torch.Generator().manual_seed(1), colours=True)
    options = (40, [1.0, 1.0], [1.0, 1.0], True, MEAN, STD)
    made = Augmentation(**STRONG)
    on_files = TrainView(*options, on_files=True, augmentation=made)
    crops = torch.stack(
        [on_files.crop_file(whole(image), numbers) for image, numbers in zip(batch, draws, strict=True)]
    )
    assert torch.equal(crops, batch)
    assert (on_files(crops, draws) - TrainView(*options, augmentation=made)(batch, draws)).abs().max() < 1e-4


def test_autocast_does_not_round_colours():
    batch, draws = pictures(4, 32), draw(4, torch.Generator().manual_seed(0), colours=True)
    view = TrainView(32, [0.08, 1.0], [0.75, 4 / 3], True, MEAN, STD, augmentation=Augmentation(**STRONG))
    with torch.autocast("cpu", torch.bfloat16):
        inside = view(batch, draws)
    assert torch.equal(inside, view(batch, draws))


def test_only_what_is_asked_for_makes_an_augmentation():
    assert augmentation(View()) is None
    assert augmentation(View(color_jitter=[0.4, 0, 0, 0], jitter_probability=0)) is None
    for asked in ({"color_jitter": [0.4, 0, 0, 0]}, {"grey_probability": 0.1}, {"blur_probability": 0.1}):
        assert augmentation(View(**asked)) is not None
        view = train_view(View(**asked), [], MEAN, STD)
        assert view.draw(3, torch.Generator()).shape == (3, 6 + N_DRAWS)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_makes_the_same_colours():
    images, draws = pictures(64, 32).float() / 255, uniforms(64)
    made = Augmentation(**STRONG)
    assert (made(images.clone().cuda(), draws.cuda()).cpu() - made(images, draws)).abs().max() < 1e-3
