from itertools import islice

import pytest
import torch
from torch import Tensor

from deepcluster.data import crop_loader
from deepcluster.data.crop_loader import CropLoader
from deepcluster.data.images import MemoryImages
from deepcluster.data.loader import EpochLoader
from deepcluster.data.multi_crop import multi_crop
from deepcluster.data.view_settings import SmallCrops, View

MEAN, STD = [0.5] * 3, [0.25] * 3
VIEWS = {
    "one crop": View(size=16),
    "cut from larger images": View(size=12),
    "colours": View(size=16, color_jitter=[0.8, 0.8, 0.8, 0.2], grey_probability=0.2, blur_probability=0.5),
    "two sizes": View(size=16, n_large=2, small=SmallCrops(n=2, size=10)),
}


def images_in_memory(n: int = 61) -> MemoryImages:
    pixels = torch.randint(0, 256, (n, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return MemoryImages(images=pixels, samples=[str(i) for i in range(n)])


def batches(settings: View, workers: int = 0) -> EpochLoader:
    images = images_in_memory()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1))
    return EpochLoader(
        images,
        multi_crop(settings, images, MEAN, STD),
        batch_size=7,
        num_workers=workers,
        persistent_workers=False,
        seed=5,
        n_per_epoch=len(images),
        before_epoch=lambda: (3, order),
    )


def crops(settings: View, workers: int = 0) -> CropLoader:
    view = multi_crop(settings, images_in_memory(), MEAN, STD)
    return CropLoader(batches(settings, workers), view, torch.device("cpu"))


def one_by_one(settings: View) -> list[tuple[list[Tensor], Tensor]]:
    """The crops when the view sees a batch at a time."""
    view = multi_crop(settings, images_in_memory(), MEAN, STD)
    return [(view(batch.images, batch.draws), batch.indices) for batch in batches(settings)]


@pytest.mark.parametrize("name", VIEWS)
def test_crops_that_are_cut_together_are_those_of_each_batch_alone(name: str) -> None:
    loading = crops(VIEWS[name])
    together, alone = list(loading), one_by_one(VIEWS[name])
    assert loading.n_together >= len(alone) == len(loading) == 9  # 8 of 7 images, and one of 5
    for batch, (expected, indices) in zip(together, alone, strict=True):
        assert torch.equal(batch.indices, indices)
        assert all(torch.equal(one, two) for one, two in zip(batch.crops, expected, strict=True))
        assert all(crop.is_contiguous(memory_format=torch.channels_last) for crop in batch.crops)


@pytest.mark.parametrize("done", [1, 4, 9])
def test_a_loader_that_is_resumed_among_crops_that_were_cut_together_goes_on_behind_those_given_out(
    done: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crop_loader, "TOGETHER", 3 * 7 * 3 * 16 * 16)  # three batches
    whole, first, resumed = (crops(VIEWS["one crop"]) for _ in range(3))
    expected = list(whole)
    assert whole.n_together == 3 and len(list(islice(first, done))) == first.state_dict()["batches_done"] == done
    resumed.load_state_dict(first.state_dict())
    left = expected[done:] or expected  # after the last one the next epoch is whole
    for found, wanted in zip(resumed, left, strict=True):
        assert torch.equal(found.indices, wanted.indices) and torch.equal(found.crops[0], wanted.crops[0])


def test_workers_change_no_crop() -> None:
    for found, wanted in zip(crops(VIEWS["one crop"], workers=2), crops(VIEWS["one crop"]), strict=True):
        assert torch.equal(found.indices, wanted.indices) and torch.equal(found.crops[0], wanted.crops[0])
