"""Several crops of a file: each is what one crop alone would be."""

import pytest
import torch
from support.voc_folder import red_and_train
from torchvision.transforms.v2 import functional as TF

from deepcluster.data.crops import draw_boxes
from deepcluster.data.loader import feature_batches, random_batches
from deepcluster.data.shrunk import whole
from deepcluster.data.views import N_DRAWS, TrainView, draw
from deepcluster.evaluation.probe.probe_views import TenCropView
from deepcluster.evaluation.voc07.lists import read_split
from deepcluster.evaluation.voc07.many_crops import RandomCrops

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
CROPS = {"crop_scale": [0.1, 0.5], "crop_ratio": [1.0, 1.0], "flip": True}


@pytest.fixture
def images(tmp_path):
    return read_split(red_and_train(tmp_path, n=7), "train", 3).images


@pytest.mark.parametrize("workers", [0, 2])
def test_random_crops_are_those_of_the_training_view(images, workers):
    many, one = RandomCrops(3, 8, **CROPS, mean=MEAN, std=STD), TrainView(8, **CROPS, mean=MEAN, std=STD, on_files=True)
    batches = list(random_batches(images, many, torch.arange(7), 3, workers, seed=5))
    assert [batch.images.shape for batch in batches] == [(3, 3, 3, 8, 8), (3, 3, 3, 8, 8), (1, 3, 3, 8, 8)]
    for batch in batches:
        shown = many(batch.images, batch.draws)
        for row, i in enumerate(batch.indices.tolist()):
            for number in range(3):
                draws = batch.draws[row, number * N_DRAWS : (number + 1) * N_DRAWS]
                alone = one(one.crop_file(whole(images.read(i)), draws)[None], draws[None])[0]
                assert torch.equal(shown[row, number], alone)
    again = next(iter(random_batches(images, many, torch.arange(7), 3, 0, seed=5)))
    other = next(iter(random_batches(images, many, torch.arange(7), 3, 0, seed=6)))
    assert torch.equal(again.images, batches[0].images) and not torch.equal(other.images, batches[0].images)


def test_fixed_crops_are_torchvisions_of_the_whole_width(images):
    view = TenCropView(8, 10, MEAN, STD, on_files=True)
    (batch,) = feature_batches(images, view, torch.arange(2), 2, 0)
    shown = view(batch.images)
    resized = TF.resize(images.read(1), [10], antialias=True)
    assert resized.shape == (3, 10, 13)
    for crop, expected in zip(shown[1], TF.ten_crop(resized, [8, 8]), strict=True):
        normal = (expected / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        assert torch.allclose(crop, normal, atol=1e-5)


def test_crops_of_ratio_one_are_squares_of_a_tenth_to_half_of_the_area():
    """The protocol's RandomResizedCrop(scale (.1, .5), ratio (1, 1)): area uniform, place uniform."""
    draws = draw(4000, torch.Generator().manual_seed(0))
    top, left, height, width = draw_boxes(draws, 300, 400, (0.1, 0.5), (1.0, 1.0)).T.float()
    assert torch.equal(height, width)
    share = (height * width / (300 * 400)).sort().values
    uniform = torch.linspace(0.1, 0.5, 4000)
    assert (share - uniform).abs().max() < 0.02
    assert (top / (300 - height)).mean() == pytest.approx(0.5, abs=0.02)
    assert (left / (400 - width)).mean() == pytest.approx(0.5, abs=0.02)
