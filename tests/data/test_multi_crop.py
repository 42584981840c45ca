"""Several crops of an image: each with its own draws, the first as if it were alone."""

from dataclasses import replace

import torch

from deepcluster.data.images import MemoryImages
from deepcluster.data.multi_crop import multi_crop
from deepcluster.data.shrunk import whole
from deepcluster.data.view_settings import SmallCrops, View
from deepcluster.data.views import feature_view, train_view

MEAN, STD = [0.5], [0.25]


def pictures(n: int = 5, side: int = 32) -> MemoryImages:
    pixels = torch.randint(0, 255, (n, 1, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return MemoryImages(images=pixels, samples=[str(i) for i in range(n)])


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_the_first_crop_is_that_of_a_view_with_one_crop() -> None:
    images = pictures()
    one, many = (
        multi_crop(View(size=16, **options), images, MEAN, STD)  # type: ignore[arg-type]
        for options in ({}, {"n_large": 2, "small": SmallCrops(n=3, size=8)})
    )
    alone = train_view(View(size=16), images, MEAN, STD)
    crops = many(images.images, many.draw(5, seeded()))
    assert [tuple(crop.shape) for crop in crops] == [(5, 1, 16, 16)] * 2 + [(5, 1, 8, 8)] * 3
    assert torch.equal(one(images.images, one.draw(5, seeded()))[0], crops[0])
    assert torch.equal(alone(images.images, alone.draw(5, seeded())), crops[0])
    assert not torch.equal(crops[0], crops[1]) and not torch.equal(crops[2], crops[3])


def test_crops_cut_by_workers_are_those_cut_on_the_device() -> None:
    images = pictures()
    settings = View(size=16, n_large=2, small=SmallCrops(n=1, size=8), crop_scale=[0.5, 1.0])
    in_memory = multi_crop(settings, images, MEAN, STD)
    draws = in_memory.draw(5, seeded())
    for crop in in_memory.crops:
        crop.on_files = True
    on_files = in_memory
    on_files.on_files = True
    packed = torch.stack([on_files.crop_file(whole(images.images[i]), draws[i]) for i in range(5)])
    assert packed.shape == (5, 16 * 16 * 2 + 8 * 8)
    again = multi_crop(settings, images, MEAN, STD)
    for one, other in zip(on_files(packed, draws), again(images.images, draws), strict=True):
        assert (one - other).abs().max() < 2 * 1 / 255 / 0.25  # rounded to whole grey levels


def test_small_crops_see_little_of_the_image_and_have_their_own_size() -> None:
    small = View(size=224, small=SmallCrops(n=6)).of_small_crops()
    assert small.size == 96 and small.crop_scale == [0.05, 0.14]


def test_training_crops_of_another_size_are_those_of_a_view_of_that_size() -> None:
    images = pictures()
    view = View(size=24, train_size=16, n_large=2, small=SmallCrops(n=1, size=8))
    crops = multi_crop(view, images, MEAN, STD)
    plain = multi_crop(replace(view, size=16, train_size=None), images, MEAN, STD)
    draws = crops.draw(5, seeded())
    for one, other in zip(crops(images.images, draws), plain(images.images, draws), strict=True):
        assert torch.equal(one, other)
    assert feature_view(view, images, MEAN, STD)(images.images).shape == (5, 1, 24, 24)
    assert replace(view, size=224, train_size=160, small=SmallCrops(n=1)).of_small_crops().size == 69  # 96 of 224
