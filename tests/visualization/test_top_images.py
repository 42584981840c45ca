"""The strongest images: one pass finds what a full sort finds, and what is shown is what the network saw."""

import csv
from pathlib import Path

import pytest
import torch
from PIL import Image
from support.images_of import images_of
from support.picture_context import context, network
from support.tiny import CARD, images
from torch import Tensor

from deepcluster.data.images import MemoryImages
from deepcluster.data.shrunk import whole
from deepcluster.data.sources.load import load
from deepcluster.data.view_settings import View
from deepcluster.data.views import feature_view
from deepcluster.visualization.receptive_field import receptive_field
from deepcluster.visualization.strongest import Strongest
from deepcluster.visualization.tiles import padded
from deepcluster.visualization.top_images import TopImages
from deepcluster.visualization.top_images_pages import as_seen


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "top_images.csv").open() as file:
        return list(csv.DictReader(file))


def test_one_pass_finds_what_a_full_sort_finds_ties_included() -> None:
    random = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 6, (40, 5), generator=random).float()  # many ties
    places = torch.randint(0, 49, (40, 5), generator=random)
    expected = scores.sort(dim=0, descending=True, stable=True)
    for sizes in ([40], [1] * 40, [7, 3, 20, 10]):
        strongest, first = Strongest(5, 9), 0
        for size in sizes:
            rows = torch.arange(first, first + size)
            strongest.update(rows, torch.stack([scores[rows], places[rows].float()], dim=2))
            first += size
        assert torch.equal(strongest.indices.T, expected.indices[:9])
        assert torch.equal(strongest.scores.T, expected.values[:9])
        assert torch.equal(strongest.places.T, places.gather(0, expected.indices)[:9])


@pytest.mark.parametrize("score", ["mean", "max"])
def test_the_table_holds_the_best_images_their_scores_and_places(score: str, tmp_path: Path) -> None:
    of, net = images(50), network()
    results = TopImages(stage="conv1", score=score, n_top=4).run(context(tmp_path, of, net))
    pixels = (of.images.float() / 255 - 0.5) / 0.25
    with torch.no_grad():
        maps = net.stage(pixels, "conv1")  # (50, 6, 12, 12)
    scores = maps.mean(dim=(2, 3)) if score == "mean" else maps.amax(dim=(2, 3))
    rows = [row for row in table(tmp_path) if row["stage"] == "conv1"]
    assert len(rows) == 6 * 4
    for row in rows:
        channel, rank, image = int(row["channel"]), int(row["rank"]), of.samples.index(row["sample"])
        assert float(row["score"]) == pytest.approx(float(scores[image, channel]), rel=1e-4)
        assert int((scores[:, channel] > scores[image, channel] + 1e-5).sum()) < rank
        strongest = maps[image, channel, int(row["row"]), int(row["column"])]
        assert float(strongest) == pytest.approx(float(maps[image, channel].max()), rel=1e-4)
    assert results["conv1_silent"] == 0
    assert results["conv1_score"] == pytest.approx(float(scores.amax(dim=0).mean()), rel=1e-4)
    assert (tmp_path / "top_images_conv1.png").is_file()


def test_a_channel_that_never_answers_is_left_out(tmp_path: Path) -> None:
    net = network()
    with torch.no_grad():
        net.features.conv2[1].bias[2:4] = torch.tensor([10.0, -1e3])
    results = TopImages(channels=[2, 3]).run(context(tmp_path, images(20), net))
    assert results["conv2_silent"] == 1 and {row["channel"] for row in table(tmp_path)} == {"2"}


def test_fewer_images_than_ranks_leave_cells_empty(tmp_path: Path) -> None:
    TopImages(stage="conv1", channels=[0]).run(context(tmp_path, images(3), network()))
    assert [row["rank"] for row in table(tmp_path)] == ["1", "2", "3"]


def test_the_cut_holds_what_excites_the_place() -> None:
    """Only one blob in the image: the field of the strongest place shows it, and nothing outside matters."""
    net, size = network(), 16
    pixels = torch.zeros(1, 1, size, size, dtype=torch.uint8)
    pixels[0, 0, 9:12, 3:6] = 255
    field = receptive_field(net, "conv2", size)
    assert field is not None

    def maps(of: Tensor) -> Tensor:
        with torch.no_grad():
            return net.stage((of.float() / 255 - 0.5) / 0.25, "conv2")[0]

    for channel in range(16):
        row, column = divmod(int(maps(pixels)[channel].argmax()), 2)
        (top, bottom), (left, right) = field.rows.at(row), field.columns.at(column)
        assert torch.equal(padded(pixels[0], (top, bottom), (left, right)), pixels[0, :, top:bottom, left:right])
        other = torch.randint(0, 256, pixels.shape, dtype=torch.uint8)
        other[..., top:bottom, left:right] = pixels[..., top:bottom, left:right]
        assert torch.allclose(maps(other)[channel, row, column], maps(pixels)[channel, row, column], atol=1e-5)


def test_images_of_files_are_shown_as_the_network_saw_them(tmp_path: Path) -> None:
    """Resized and cropped by the feature view, normalised and back."""
    random = torch.Generator().manual_seed(0)
    for i in range(5):
        pixels = torch.randint(0, 256, (24 + i, 40, 1), generator=random, dtype=torch.uint8)
        (tmp_path / "set").mkdir(exist_ok=True)
        Image.fromarray(pixels[:, :, 0].numpy()).save(tmp_path / "set" / f"{i}.png")
    data = images_of(
        "folder",
        root=str(tmp_path / "set"),
        n_channels=1,
        in_memory="never",
        num_workers=0,
        cache_dir="none",
    )
    of = load(*data, "train")
    assert of is not None and not isinstance(of, MemoryImages)
    view = feature_view(View(size=16, resize=20), of, CARD["mean"], CARD["std"])
    seen = as_seen(of, view, [1, 3], context(tmp_path, of, network(), data))
    for i in (1, 3):
        assert torch.equal(seen[i], view.crop_file(whole(of.read(i))))
    TopImages(stage="conv1", crop="field", n_top=2).run(context(tmp_path, of, network(), data))
    assert len(table(tmp_path)) == 12


def test_pages_hold_so_many_channels(tmp_path: Path) -> None:
    TopImages(stage="all", rows_per_page=6, n_top=1).run(context(tmp_path, images(10), network()))
    assert sorted(file.name for file in tmp_path.glob("*.png")) == [
        "top_images_conv1.png",
        "top_images_conv2.png",
        "top_images_conv2_2.png",
        "top_images_conv2_3.png",
    ]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"score": "median"}, r"evaluation.score must be one of mean, max, got .median."),
        ({"crop": "centre"}, r"evaluation.crop must be one of whole, field"),
        ({"n_top": 0}, r"evaluation.n_top must be at least 1, got 0"),
        ({"channels": []}, r"evaluation.channels=\[\] names no channel"),
    ],
)
def test_what_cannot_be_shown_is_refused(settings: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        TopImages(**settings)  # type: ignore[arg-type]
