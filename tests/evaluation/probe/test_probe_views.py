"""The 2018 probe's views against torchvision's transforms."""

import pytest
import torch
from torchvision.transforms.v2 import functional as TF

from deepcluster.data.shrunk import whole
from deepcluster.evaluation.probe.probe_views import RandomCropView, TenCropView, ten_crops

MEAN, STD = [0.4, 0.5], [0.2, 0.3]


def images(height: int, width: int) -> torch.Tensor:
    return torch.randint(0, 256, (4, 2, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("height", "width"), [(20, 20), (20, 26), (31, 15)])
def test_a_random_crop_is_torchvisions_at_the_drawn_corner(height: int, width: int) -> None:
    view = RandomCropView(14, 18, True, MEAN, STD)
    pixels = images(height, width)
    draws = torch.zeros(4, 6)
    draws[:, 2:4] = torch.tensor([[0.0, 0.999], [0.5, 0.21], [0.999, 0.0], [0.41, 0.79]])
    draws[:, 5] = torch.tensor([0.2, 0.7, 0.9, 0.4])
    corners = [(0, 4), (2, 1), (4, 0), (2, 3)]  # floor of draw x 5 places
    for i, (image, (top, left)) in enumerate(zip(pixels, corners, strict=True)):
        square = TF.center_crop(TF.resize(image.float(), [18], antialias=True), [18, 18])
        crop = TF.crop(square, top, left, 14, 14)
        crop = TF.horizontal_flip(crop) if draws[i, 5] < 0.5 else crop
        torch.testing.assert_close(view(pixels, draws)[i], TF.normalize(crop / 255, MEAN, STD), atol=1e-4, rtol=0)


def test_crops_of_files_are_those_of_images_in_memory() -> None:
    in_memory, on_files = (RandomCropView(14, 18, True, MEAN, STD, on_files=flag) for flag in (False, True))
    pixels = images(18, 18)  # nothing to resize, so nothing to round
    draws = in_memory.draw(4, torch.Generator().manual_seed(0))
    read = torch.stack(
        [on_files.crop_file(whole(image), numbers) for image, numbers in zip(pixels, draws, strict=True)]
    )
    torch.testing.assert_close(on_files(read, draws), in_memory(pixels, draws))


def test_every_corner_is_drawn_equally_often() -> None:
    view = RandomCropView(3, 5, False, [0.0], [1.0])
    pixels = torch.arange(25, dtype=torch.uint8).view(1, 1, 5, 5).expand(9000, 1, 5, 5)
    corners = (255 * view(pixels, view.draw(9000, torch.Generator().manual_seed(0)))[:, 0, 0, 0]).round().long()
    counts = torch.bincount(corners, minlength=25)
    assert sorted(counts.nonzero()[:, 0].tolist()) == [0, 1, 2, 5, 6, 7, 10, 11, 12]
    assert int(counts[counts > 0].min()) > 850 and int(counts.max()) < 1150  # 1000 +- 30 of nine


@pytest.mark.parametrize(("height", "width"), [(18, 18), (20, 26), (31, 15)])
def test_ten_crops_are_torchvisions(height: int, width: int) -> None:
    view, on_files = (TenCropView(14, 18, MEAN, STD, on_files=flag) for flag in (False, True))
    pixels = images(height, width)
    crops = view(pixels)
    assert crops.shape == (4, 10, 2, 14, 14)
    for image, mine in zip(pixels, crops, strict=True):
        twin = torch.stack(list(TF.ten_crop(TF.resize(image.float(), [18], antialias=True), [14, 14])))
        torch.testing.assert_close(mine, TF.normalize(twin / 255, MEAN, STD), atol=1e-4, rtol=0)
    read = torch.stack([on_files.crop_file(whole(image)) for image in pixels])
    assert read.shape[1:] == (10, 2, 14, 14) and read.dtype == torch.uint8
    # resized in 8 bits, rounded after each of two passes
    assert float((on_files(read) - crops).abs().max()) <= 1.01 / 255 / min(STD)


@pytest.mark.parametrize(("height", "width", "size"), [(256, 300, 224), (9, 12, 6), (11, 10, 7), (8, 8, 8), (5, 4, 1)])
def test_ten_crops_are_torchvisions_in_its_order(height: int, width: int, size: int) -> None:
    images = torch.randint(0, 256, (3, 2, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    twin = torch.stack([torch.stack(list(TF.ten_crop(image, [size, size]))) for image in images])
    assert torch.equal(ten_crops(images, size), twin)


def test_the_fifth_crop_is_the_centre_and_the_tenth_its_mirror() -> None:
    images = torch.arange(16.0).view(1, 1, 4, 4)
    crops = ten_crops(images, 2)
    assert crops[0, 4, 0].tolist() == [[5, 6], [9, 10]]
    assert crops[0, 9, 0].tolist() == [[6, 5], [10, 9]]


def test_an_image_smaller_than_a_crop_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ten crops of 5x5 pixels do not fit into images of 8x4 .*view\.resize"):
        ten_crops(torch.zeros(1, 1, 8, 4), 5)
