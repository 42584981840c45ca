import io
import math
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from reference.pictures import encoded
from support.images_of import images_of
from torchvision.transforms.v2 import functional as TF

from deepcluster.data import scan as scan_module
from deepcluster.data.crops import draw_boxes
from deepcluster.data.decode import BrokenImage, decode, decode_named
from deepcluster.data.images import MemoryImages
from deepcluster.data.loader import EpochLoader, feature_batches
from deepcluster.data.shrunk import as_small_as_can_be, decode_shrunk, to_short_side, whole
from deepcluster.data.sources.load import load
from deepcluster.data.statistics import statistics
from deepcluster.data.view_settings import View
from deepcluster.data.views import FeatureView, TrainView, draw, feature_view, train_view
from deepcluster.evaluation.probe.probe_views import RandomCropView, TenCropView
from deepcluster.evaluation.voc07.many_crops import RandomCrops

MEAN, STD = [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]
CROPS = ([0.08, 1.0], [0.75, 4 / 3])


def gradient(height: int, width: int) -> Image.Image:
    """Red grows from left to right and green from top to bottom, so that a colour tells its place."""
    y, x = np.mgrid[:height, :width]
    blue = 40 * np.sin(x / 40) * np.cos(y / 30) + 128
    pixels = np.stack([20 + 210 * x / (width - 1), 20 + 210 * y / (height - 1), blue], 2)
    return Image.fromarray(pixels.round().astype(np.uint8))


def jpeg(image: Image.Image, **options: object) -> bytes:
    return encoded(image, "JPEG", **{"quality": 98, "subsampling": 0, **options})


def oriented(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


@pytest.mark.parametrize(
    ("shrink", "by"), [(0.5, 1), (1.0, 1), (1.99, 1), (2.0, 2), (3.99, 2), (4.0, 4), (7.9, 4), (8.0, 8), (99.0, 8)]
)
def test_an_image_is_decoded_no_smaller_than_it_may(shrink, by):
    data = jpeg(gradient(83, 101))
    asked = []
    image = decode_shrunk(data, 3, "a", lambda height, width: asked.append((height, width)) or shrink)
    assert asked == [(83, 101)] and (image.height, image.width, image.by) == (83, 101, by)
    assert image.pixels.shape == (3, -(-83 // by), -(-101 // by))
    if by == 1:
        assert torch.equal(image.pixels, decode(data, 3))
    blocks = decode(data, 3)[:, : 83 // by * by, : 101 // by * by].float().unfold(1, by, by).unfold(2, by, by)
    means = blocks.mean((3, 4))
    assert (image.pixels[:, : 83 // by, : 101 // by] - means).abs().max() < 4  # a pixel is a block's mean


def test_without_being_asked_every_image_is_decoded_as_before():
    data = jpeg(gradient(90, 120))
    assert torch.equal(decode_shrunk(data, 3, "a", None).pixels, decode(data, 3))


@pytest.mark.parametrize("height_width", [(240, 320), (243, 333), (331, 250)])
@pytest.mark.parametrize("n_channels", [1, 2, 3, 4])
def test_the_feature_view_sees_the_same_region(height_width, n_channels):
    data = jpeg(gradient(*height_width))
    view = FeatureView(28, 30, MEAN, STD, on_files=True)
    small = decode_shrunk(data, n_channels, "a", view.shrink)
    assert small.by == 8
    crop, plain = view.crop_file(small), view.crop_file(whole(decode(data, n_channels)))
    assert crop.shape == plain.shape == (n_channels, 28, 28) and crop.dtype == torch.uint8
    assert (crop.int() - plain.int()).abs().max() <= 2
    assert (crop.int() - plain.int()).abs().float().mean() < 0.6  # half a pixel's shift would be 3 of red and green


@pytest.mark.parametrize("height_width", [(400, 300), (403, 301)])
def test_random_crops_are_the_same_boxes_of_the_image_itself(height_width):
    data = jpeg(gradient(*height_width))
    view = TrainView(16, *CROPS, True, MEAN, STD, on_files=True)
    factors = set()
    for numbers in draw(60, torch.Generator().manual_seed(0)):
        small = decode_shrunk(data, 3, "a", partial(view.shrink, draws=numbers))
        top, left, height, width = draw_boxes(numbers[None], *height_width, *map(tuple, CROPS))[0].tolist()
        factors.add(small.by)
        assert small.by == max(by for by in (1, 2, 4, 8) if by * 16 <= min(height, width))
        plain = TF.resized_crop(decode(data, 3), top, left, height, width, [16, 16], antialias=True)
        difference = (view.crop_file(small, numbers).int() - plain.int()).abs().float()
        assert difference[:2].mean() < 0.6 and difference.max() <= 4
    assert factors == {4, 8}


def test_probes_crops_are_the_same_regions_too():
    data = jpeg(gradient(243, 331))
    full = whole(decode(data, 3))
    numbers = draw(1, torch.Generator().manual_seed(3))[0]
    square = RandomCropView(24, 30, False, MEAN, STD, on_files=True)
    small = decode_shrunk(data, 3, "a", partial(square.shrink, draws=numbers))
    assert small.by == 8
    assert (square.crop_file(small, numbers).int() - square.crop_file(full, numbers).int()).abs().max() <= 2
    ten = TenCropView(24, 30, MEAN, STD, on_files=True)
    assert (ten.crop_file(small).int() - ten.crop_file(full).int()).abs().max() <= 2
    many = RandomCrops(5, 16, *CROPS, True, mean=MEAN, std=STD)
    numbers = many.draw(1, torch.Generator().manual_seed(3))[0]
    small = decode_shrunk(data, 3, "a", partial(many.shrink, draws=numbers))
    smallest = draw_boxes(numbers.view(5, 6), 243, 331, *map(tuple, CROPS))[:, 2:].min()
    assert small.by == max(by for by in (1, 2, 4, 8) if by * 16 <= smallest) > 1
    assert (many.crop_file(small, numbers).int() - many.crop_file(full, numbers).int()).abs().max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("height", "width", "by"), [(160, 240, 8), (164, 244, 4), (163, 241, 1)])
def test_turned_photographs_are_upright_and_not_moved(orientation, height, width, by):
    data = jpeg(gradient(height, width), exif=oriented(orientation))
    sizes = []
    small = decode_shrunk(data, 3, "a", lambda *size: sizes.append(size) or 8.0)
    full = decode(data, 3)
    assert sizes == [tuple(full.shape[1:])]
    assert small.by == (8 if orientation == 1 else by)
    view = FeatureView(20, 20, MEAN, STD, on_files=True)
    assert (view.crop_file(small).int() - view.crop_file(whole(full)).int()).abs().max() <= 2


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize("progressive", [False, True])
def test_every_kind_of_jpeg_is_the_same_picture(mode, n_channels, progressive):
    data = encoded(gradient(160, 200).convert(mode), "JPEG", quality=95, progressive=progressive)
    small = decode_shrunk(data, n_channels, "a", to_short_side(20))
    assert small.by == (1 if mode == "CMYK" else 8)
    view = FeatureView(20, 20, MEAN, STD, on_files=True)
    difference = view.crop_file(small).int() - view.crop_file(whole(decode(data, n_channels))).int()
    assert difference.abs().max() <= 3


def test_several_pictures_in_one_file_as_telephones_write_them():
    file = io.BytesIO()
    gradient(160, 200).save(file, "MPO", save_all=True, append_images=[Image.new("RGB", (80, 60))], quality=95)
    small = decode_shrunk(file.getvalue(), 3, "a", to_short_side(20))
    assert small.by == 8
    view = FeatureView(20, 20, MEAN, STD, on_files=True)
    assert (view.crop_file(small).int() - view.crop_file(whole(decode(file.getvalue(), 3))).int()).abs().max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP"])
def test_other_formats_are_as_they_were(kind):
    data = encoded(gradient(80, 100), kind)
    image = decode_shrunk(data, 3, "a", as_small_as_can_be)
    assert image.by == 1 and torch.equal(image.pixels, decode(data, 3))


@pytest.mark.parametrize("share", [0.001, 0.02, 0.2, 0.6, 0.97])
@pytest.mark.parametrize("progressive", [False, True])
def test_broken_files_are_the_same_errors(share, progressive):
    data = jpeg(gradient(300, 400), progressive=progressive)
    data = data[: int(len(data) * share)]
    with pytest.raises(BrokenImage) as small:
        decode_shrunk(data, 3, "name", as_small_as_can_be)
    with pytest.raises(BrokenImage) as full:
        decode_named(data, 3, "name")
    assert str(small.value) == str(full.value) and "name" in str(small.value)


def test_an_image_that_no_crop_can_shrink_costs_no_drawing(monkeypatch):
    view = TrainView(16, *CROPS, True, MEAN, STD, on_files=True)
    monkeypatch.setattr(TrainView, "_box", lambda *args: pytest.fail("drawn"))
    assert view.shrink(31, 500, torch.rand(6)) == 1.0


def test_the_feature_view_asks_for_the_short_side_before_its_crop():
    view = FeatureView(14, 30, MEAN, STD, on_files=True)
    assert view.shrink(60, 90) == view.shrink(90, 60) == 2.0 and view.shrink(59, 90) < 2


@pytest.fixture
def photographs(tmp_path):
    """Large and small, upright and turned JPEGs, and a PNG."""
    (tmp_path / "photos").mkdir()
    for i in range(9):
        height, width = [(240, 320), (163, 241), (20, 30)][i % 3]
        data = jpeg(gradient(height, width).rotate(20 * i), exif=oriented([1, 6, 3][i // 3]))
        (tmp_path / "photos" / f"{i}.jpg").write_bytes(data)
    gradient(200, 300).save(tmp_path / "photos" / "9.png")
    return tmp_path / "photos"


VIEW = View(size=16, resize=18)


def folder(root, **options):
    defaults = {"cache_dir": "none", "decode": "scaled", "in_memory": "never"}
    return images_of("folder", root=str(root), **{**defaults, **options})


def epochs(images, workers):
    view = train_view(VIEW, images, MEAN, STD)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(1))
    options = {"batch_size": 4, "num_workers": workers, "persistent_workers": False, "seed": 3, "n_per_epoch": 10}
    return torch.cat([b.images for b in EpochLoader(images, view, **options, before_epoch=lambda: (0, order))])


def test_loaders_read_smaller_images_and_workers_change_nothing(photographs):
    seen = {}
    for decoding in ("full", "scaled"):
        settings = folder(photographs, decode=decoding)
        images = load(*settings, "train")
        view = feature_view(VIEW, images, MEAN, STD)
        for workers in (0, 2):
            batches = feature_batches(images, view, torch.arange(10), 4, workers)
            seen[decoding, workers] = (torch.cat([b.images for b in batches]), epochs(images, workers))
        assert images.read(0).shape == (3, 240, 320)  # for pictures: as it is
    for kind in (0, 1):
        full, scaled = seen["full", 0][kind], seen["scaled", 0][kind]
        assert torch.equal(scaled, seen["scaled", 2][kind]) and torch.equal(full, seen["full", 2][kind])
        difference = (full.int() - scaled.int()).abs().float().mean((1, 2, 3))
        assert 0 < difference.max() < 3
    alone = seen["full", 0][0].int() - seen["scaled", 0][0].int()
    small = [2, 5, 8, 9]  # the last is the PNG
    assert not alone[small].any() and alone[[0, 1, 3, 6]].any()


def test_both_ways_of_decoding_are_remembered_apart(photographs, tmp_path, monkeypatch):
    for name in ("2.jpg", "5.jpg", "8.jpg", "1.jpg", "4.jpg", "7.jpg", "9.png", "3.jpg"):
        (photographs / name).unlink()  # leaves two of 240 x 320, one of them turned upside down
    settings = {
        decoding: folder(photographs, decode=decoding, in_memory="auto", stored_size=20, cache_dir=str(tmp_path / "c"))
        for decoding in ("full", "scaled")
    }
    first = {decoding: load(*settings[decoding], "train") for decoding in settings}
    assert all(isinstance(images, MemoryImages) for images in first.values())
    difference = (first["full"].images.int() - first["scaled"].images.int()).abs()
    assert 0 < difference.float().mean() < 2
    monkeypatch.setattr(scan_module, "_decode_all", lambda *args: pytest.fail("decoded again"))
    for decoding in settings:
        assert torch.equal(load(*settings[decoding], "train").images, first[decoding].images)


def test_images_kept_as_they_are_are_decoded_as_they_are(photographs):
    for name in ("1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg", "7.jpg", "8.jpg", "9.png"):
        (photographs / name).unlink()
    kept = {d: load(*folder(photographs, decode=d, in_memory="always"), "train").images for d in ("full", "scaled")}
    assert kept["full"].shape == (2, 3, 240, 320) and torch.equal(kept["full"], kept["scaled"])


def test_a_scan_that_keeps_nothing_decodes_as_small_as_can_be_and_finds_what_is_broken(photographs, monkeypatch):
    whole_file = (photographs / "0.jpg").read_bytes()
    (photographs / "0.jpg").write_bytes(whole_file[: len(whole_file) // 2])
    asked = []
    real = scan_module.as_small_as_can_be
    monkeypatch.setattr(scan_module, "as_small_as_can_be", lambda *size: asked.append(size) or real(*size))
    images = load(*folder(photographs, on_broken="skip"), "train")
    assert [name for name, _ in images.skipped] == ["0.jpg"] and len(images) == 9 and images.scaled
    assert (240, 320) in asked
    assert real(240, 320) == math.inf


def test_statistics_are_those_of_the_images_as_they_are_up_to_detail(photographs, tmp_path):
    found = {}
    for decoding in ("full", "scaled"):
        settings = folder(photographs, decode=decoding, cache_dir=str(tmp_path / "cache"))
        found[decoding] = torch.tensor(statistics(load(*settings, "train"), VIEW, *settings))
        assert torch.equal(found[decoding], torch.tensor(statistics(load(*settings, "train"), VIEW, *settings)))
    difference = (found["full"] - found["scaled"]).abs()
    assert 0 < difference.max() < 0.01
    larger = View(size=16, resize=120)
    assert not torch.equal(found["scaled"], torch.tensor(statistics(load(*settings, "train"), larger, *settings)))


def test_parquet_is_read_the_same_way(photographs, tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    files = sorted(photographs.iterdir())
    rows = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    (tmp_path / "table").mkdir()
    parquet.write_table(pa.table({"image": rows}), tmp_path / "table" / "train-00000.parquet")
    of_folder = folder(photographs)
    of_table = images_of("parquet", root=str(tmp_path / "table"), decode="scaled", in_memory="never")
    seen = []
    for settings in (of_folder, of_table):
        images = load(*settings, "train")
        assert images.scaled
        seen.append(epochs(images, 0))
    assert torch.equal(*seen)


def test_an_orientation_that_does_not_exist_turns_nothing():
    found = decode_shrunk(jpeg(gradient(480, 640), exif=oriented(9)), 3, "x.jpg", lambda height, width: 2.0)
    assert (found.by, found.height, found.width) == (2, 480, 640)
