import pytest
import torch
from support.images_of import images_of
from torchvision.transforms.v2 import functional as TF

from deepcluster.data import views as views_module
from deepcluster.data.images import FileImages, MemoryImages
from deepcluster.data.shrunk import whole
from deepcluster.data.sources.load import load
from deepcluster.data.view_settings import View
from deepcluster.data.views import FeatureView, TrainView, draw, feature_view, train_view

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]


def images(n, side, seed=0):
    return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_the_whole_image_unflipped_is_only_normalised():
    batch = images(4, 32)
    view = TrainView(32, [1.0, 1.0], [1.0, 1.0], False, MEAN, STD)
    expected = TF.normalize(batch.float() / 255, MEAN, STD)
    assert (view(batch, torch.rand(4, 6)) - expected).abs().max() < 1e-4
    assert (FeatureView(32, None, MEAN, STD)(batch) - expected).abs().max() < 1e-5


def test_half_of_the_images_are_flipped_exactly():
    batch = images(2000, 4)
    view = TrainView(4, [1.0, 1.0], [1.0, 1.0], True, MEAN, STD)
    plain = TF.normalize(batch.float() / 255, MEAN, STD)
    seen = view(batch, draw(2000, torch.Generator().manual_seed(0)))
    flipped = (seen - plain.flip(-1)).abs().amax((1, 2, 3)) < 1e-4
    assert ((seen - plain).abs().amax((1, 2, 3)) < 1e-4)[~flipped].all()
    assert 900 < flipped.sum() < 1100


def test_a_crop_depends_on_the_image_and_its_draws_only():
    batch, draws = images(8, 32), draw(8, torch.Generator().manual_seed(0))
    view = TrainView(32, [0.08, 1.0], [0.75, 4 / 3], True, MEAN, STD)
    assert torch.equal(view(batch, draws)[3:5], view(batch[3:5], draws[3:5]))
    assert not torch.equal(view(batch, draws)[0], view(batch, draws.roll(1, 0))[0])


@pytest.mark.parametrize(("side", "size"), [(28, 32), (40, 16)])
def test_crops_by_workers_are_the_batched_crops_up_to_rounding(side, size):
    batch, draws = images(16, side), draw(16, torch.Generator().manual_seed(1))
    options = ([0.08, 1.0], [0.75, 4 / 3], True, MEAN, STD)
    batched, on_files = TrainView(size, *options), TrainView(size, *options, on_files=True)
    crops = torch.stack(
        [on_files.crop_file(whole(image), numbers) for image, numbers in zip(batch, draws, strict=True)]
    )
    assert crops.dtype == torch.uint8
    difference = (on_files(crops, draws) - batched(batch, draws)).abs().amax((0, 2, 3))
    assert (difference < 1.6 / 255 / torch.tensor(STD)).all()  # two roundings to grey levels


def test_the_feature_view_is_resize_center_crop_normalise():
    batch = images(3, 28)
    expected = TF.normalize(TF.center_crop(TF.resize(batch.float(), [44], antialias=True), [32, 32]) / 255, MEAN, STD)
    assert (FeatureView(32, 44, MEAN, STD)(batch) - expected).abs().max() < 1e-4
    on_files = FeatureView(32, 44, MEAN, STD, on_files=True)
    crops = torch.stack([on_files.crop_file(whole(image)) for image in batch])
    assert (on_files(crops) - expected).abs().max() < 1.6 / 255 / 0.2


def test_large_images_are_cut_in_parts_with_the_same_result(monkeypatch):
    batch, draws = images(7, 90), draw(7, torch.Generator().manual_seed(0))
    train, features = TrainView(32, [0.08, 1.0], [0.75, 4 / 3], True, MEAN, STD), FeatureView(32, 44, MEAN, STD)
    whole = train(batch, draws), features(batch)
    sizes = []
    for name in ("crop", "central_crop"):
        real = getattr(views_module, name)
        monkeypatch.setattr(
            views_module, name, lambda part, *rest, real=real: sizes.append(len(part)) or real(part, *rest)
        )
    monkeypatch.setattr(views_module, "_PART_BYTES", 2 * 4 * batch[0].numel() + 1)
    assert torch.equal(train(batch, draws), whole[0]) and torch.equal(features(batch), whole[1])
    assert sizes == [2, 2, 2, 1] * 2


def test_autocast_does_not_round_pixels():
    batch, draws = images(4, 40), draw(4, torch.Generator().manual_seed(0))
    view = TrainView(16, [0.08, 1.0], [0.75, 4 / 3], True, MEAN, STD)
    with torch.autocast("cpu", torch.bfloat16):
        inside = view(batch, draws)
    assert inside.dtype == torch.float32 and torch.equal(inside, view(batch, draws))


def test_views_are_built_for_where_the_images_are(make_folder):
    root = make_folder(["1.png", "2.png"])
    for in_memory, kind, on_files in (("always", MemoryImages, False), ("never", FileImages, True)):
        settings = images_of("folder", root=str(root), cache_dir="none", in_memory=in_memory)
        loaded = load(*settings, "train")
        assert isinstance(loaded, kind)
        assert train_view(View(), loaded, MEAN, STD).on_files is on_files
        assert feature_view(View(), loaded, MEAN, STD).on_files is on_files


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("side", "size"), [(28, 32), (40, 16)])
def test_the_gpu_cuts_the_same_crops(side, size):
    batch, draws = images(64, side), draw(64, torch.Generator().manual_seed(1))
    view = TrainView(size, [0.08, 1.0], [0.75, 4 / 3], True, MEAN, STD)
    here = view(batch, draws)
    there = view(batch.cuda(), draws).cpu()
    close = (here - there).abs().amax((1, 2, 3)) < 1e-3
    assert close.float().mean() > 0.95  # a box may round to another pixel
    assert torch.allclose(
        FeatureView(size, None, MEAN, STD)(batch.cuda()).cpu(),
        FeatureView(size, None, MEAN, STD)(batch),
        atol=1e-3,
    )
