"""Retrieval from files to numbers: descriptors against the plain twin, sizes, kept regions, errors, the page."""

import csv
import json
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from reference import rmac as plain
from reference.networks_2018 import stir
from reference.pictures import picture
from torch import Tensor

from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.retrieval.answer_page import COLOURS, FRAME, answer_page, evenly_chosen
from deepcluster.evaluation.retrieval.descriptors import describe, learn_whitening, region_features
from deepcluster.evaluation.retrieval.instance_retrieval import Retrieval
from deepcluster.evaluation.retrieval.region_features import Item, RegionFeatures
from deepcluster.evaluation.retrieval.report import Search
from deepcluster.evaluation.retrieval.sets import read_resized
from deepcluster.features.settings import Extraction
from deepcluster.models.alexnet import SmallAlexNet
from deepcluster.models.backbone import Backbone
from deepcluster.models.lenet import LeNet5
from deepcluster.weights.recognise import Weights

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
SIZE = 48


@dataclass
class Said:
    lines: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        self.lines.append(line)

    @contextmanager
    def bar(self, title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        done: list[int] = []
        yield done.append
        assert sum(done) == total, title


@pytest.fixture(scope="module")
def network() -> Backbone:
    torch.manual_seed(0)
    backbone = SmallAlexNet(3, 32, channels=[4, 6, 8, 8, 10], feature_dim=8, hidden=8).eval()
    stir(backbone, 1)
    return backbone


@pytest.fixture
def context(network: Backbone, tmp_path: Path) -> EvaluationContext:
    card = {"arch": {}, "in_channels": 3, "image_size": 32, "resize": 32, "mean": MEAN, "std": STD}
    return EvaluationContext(
        backbone=network,
        stored=Weights(path=Path("file.ckpt"), format="", tensors={}, card=card),
        data_settings=None,
        extraction=Extraction(),
        folder=tmp_path / "out",
        seed=1,
        progress=Said(),
        device=torch.device("cpu"),
    )


def write(root: Path, name: str, seed: int, height: int = 40, width: int = 50) -> Path:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    picture(seed, height, width).save(root / name)
    return root / name


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Six references, each searched by a smaller copy (a/) and by another picture (b/)."""
    folder = tmp_path / "set"
    for i in range(6):
        write(folder, f"Reference/{i}.png", i)
        write(folder, f"a/{i}.png", i, 30, 38)
        write(folder, f"b/{i}.png", 100 + i, 50, 40)
    return folder


def search(context: EvaluationContext, root: Path, **settings: Any) -> Search:
    return Retrieval(root=str(root), **{"sizes": [SIZE], **settings}).search(context)


def nothing(n: int) -> None: ...


def maps(network: Backbone, path: Path, size: int, box: Any = None) -> Any:
    pixels = read_resized(path, 3, size, box)[None].float() / 255
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    with torch.no_grad():
        return network.stage((pixels - mean) / std, "conv5")[0].double().numpy()


def test_descriptors_are_the_plain_twin_s(network: Backbone, context: EvaluationContext, tmp_path: Path) -> None:
    """Images of three shapes in one block, one of them cut to a region."""
    items: list[Item] = [(write(tmp_path, f"{i}.png", i, *s), None) for i, s in enumerate([(40, 50), (64, 33)] * 3)]
    items.append((items[0][0], (10.0, 5.0, 45.0, 38.0)))
    features = region_features(context, "conv5", 3)
    found, broken = describe(features, items, [SIZE], None, nothing)
    expected = [plain.descriptor(maps(network, path, SIZE, box), 3) for path, box in items]
    assert not broken and np.allclose(found.numpy(), np.stack(expected), atol=1e-5)
    assert not np.allclose(expected[0], expected[-1], atol=1e-2)
    fitted, _ = learn_whitening(features, items, [SIZE], 6, nothing)
    assert fitted.projection is not None
    whitened, _ = describe(features, items, [SIZE], fitted.apply, nothing)
    mean, projection = fitted.mean.double().numpy(), fitted.projection.double().numpy()
    expected = [plain.descriptor(maps(network, p, SIZE, box), 3, mean, projection) for p, box in items]
    assert np.allclose(whitened.numpy(), np.stack(expected), atol=1e-4)


def test_several_sizes_are_the_sum_of_each_and_one_size_is_itself(context: EvaluationContext, root: Path) -> None:
    items: list[Item] = [(path, None) for path in sorted((root / "a").iterdir())]
    features = region_features(context, "conv4", 3)
    small, large = (describe(features, items, [size], None, nothing)[0] for size in (32, 64))
    both, _ = describe(features, items, [32, 64], None, nothing)
    assert torch.allclose(both, torch.nn.functional.normalize(small + large, dim=1), atol=1e-6)
    assert not torch.allclose(small, large, atol=1e-2)


def test_whitened_regions_have_unit_covariance_over_all_sizes(context: EvaluationContext, root: Path) -> None:
    items: list[Item] = [(path, None) for path in sorted(root.rglob("*.png"))]
    features = region_features(context, "conv5", 3)
    fitted, _ = learn_whitening(features, items, [40, 64], 5, nothing)
    regions = torch.cat([b.maxima for size in (40, 64) for b in features.blocks(items, size, nothing)])
    assert fitted.projection is not None
    white = (regions - fitted.mean) @ fitted.projection
    assert torch.allclose(white.T.cov(), torch.eye(5), atol=1e-3)


def test_copies_are_found_and_results_are_told(context: EvaluationContext, root: Path) -> None:
    numbers = Retrieval(root=str(root), sizes=[SIZE]).run(context)
    assert numbers["recall_at_1_a"] == 1.0 and numbers["map_a"] == 1.0
    assert numbers["n_queries"] == 12 and numbers["n_database"] == 6
    assert numbers["map"] == pytest.approx((numbers["map_a"] + numbers["map_b"]) / 2)
    assert not [name for name in numbers if "aqe" in name or "dba" in name]
    assert isinstance(context.progress, Said)
    assert any(line.startswith("no PCA-whitening") for line in context.progress.lines)
    with (context.folder / "queries.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert (
        rows[0]["query"] == "a/0.png" and rows[0]["average_precision"] == "1.000000" and rows[0]["first_place"] == "1"
    )
    assert rows[0]["best"].split()[0] == "Reference/0.png" and len(rows) == 12


def test_expansion_and_augmentation_stand_beside_the_plain_results(context: EvaluationContext, root: Path) -> None:
    without = search(context, root).numbers
    numbers = search(context, root, aqe=2, dba=1).numbers
    assert {name: numbers[name] for name in without} == without
    added = {name.partition("at_1")[2] for name in numbers if name.startswith("recall_at_1_a")}
    assert added >= {"_a", "_a_aqe", "_a_dba", "_a_dba_aqe", "_aqe"}
    with pytest.raises(ValueError, match=r"evaluation.dba=6 is more than the 5 images"):
        search(context, root, dba=6)


class Counted:
    """Counts the images that go through a network."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.n = 0
        compute = RegionFeatures._maps

        def counting(features: RegionFeatures, pixels: Tensor, path: Path, size: int) -> Tensor:
            self.n += len(pixels)
            return compute(features, pixels, path, size)

        monkeypatch.setattr(RegionFeatures, "_maps", counting)


def test_regions_are_kept_until_anything_about_them_changes(
    context: EvaluationContext, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(monkeypatch)
    first = search(context, root)
    assert counted.n == 18
    again = search(context, root, aqe=1, pca="database", n_pca=4)
    assert counted.n == 18 and again.numbers["n_queries"] == 12
    assert torch.equal(search(context, root).rankings, first.rankings)
    search(context, root, sizes=[SIZE + 1])
    search(context, root, stage="conv3")
    search(context, root, levels=2)
    assert counted.n == 4 * 18
    write(root, "Reference/0.png", 77)
    search(context, root)
    assert counted.n == 4 * 18 + 6  # the database's block
    with torch.no_grad():
        weight = next(iter(context.backbone.parameters()))
        weight.add_(0.1)
        search(context, root)
        weight.sub_(0.1)
    assert counted.n == 5 * 18 + 6


def test_a_killed_search_goes_on_where_it_was(
    context: EvaluationContext, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepcluster.evaluation.retrieval.region_features.BLOCK", 4)
    monkeypatch.setattr("deepcluster.evaluation.retrieval.descriptors.BLOCK", 4)
    whole = search(context, root)
    for file in sorted((context.folder / "regions").iterdir())[::2]:
        file.unlink()
    broken = sorted((context.folder / "regions").iterdir())[0]
    broken.write_bytes(broken.read_bytes()[:100])
    counted = Counted(monkeypatch)
    again = search(context, root)
    assert torch.equal(again.rankings, whole.rankings) and again.numbers == whole.numbers
    assert 0 < counted.n < 18


def test_broken_images_are_left_out_of_the_database_and_refused_as_queries(
    context: EvaluationContext, root: Path
) -> None:
    (root / "Reference/3.png").write_bytes(b"no picture")
    found = search(context, root)
    assert found.numbers["n_database"] == 5 and len(found.answers) == 10
    assert isinstance(context.progress, Said)
    assert any(
        "1 images left out that cannot be decoded" in line and "3.png" in line for line in context.progress.lines
    )
    (root / "a/2.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"the query .*a/2.png cannot be decoded"):
        search(context, root)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"stage": "conv9"}, r"no stage 'conv9'; it has conv1, .* conv5"),
        ({"pca_root": "/no/such"}, "evaluation.pca_root=/no/such: no images"),
        ({"pca": "database", "n_pca": 0}, "evaluation.n_pca must be at least 1"),
        ({"pca": "other"}, "evaluation.pca=other needs evaluation.pca_root"),
        ({"pca": "paris"}, "one of other, database, none"),
        ({"layout": "zip"}, "evaluation.layout must be one of auto, plain, oxford, revisited"),
        ({"sizes": [64, 64]}, "must be different sizes"),
        ({"sizes": []}, "must be different sizes"),
        ({"aqe": -1}, "evaluation.aqe must be at least 0"),
        ({"aqe": 7}, "evaluation.aqe=7 is more than the 6 images"),
    ],
)
def test_what_does_not_fit_is_refused(
    context: EvaluationContext, root: Path, settings: dict[str, Any], why: str
) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=why):
        search(context, root, **settings)


def test_an_image_too_small_for_the_network_is_named(context: EvaluationContext, root: Path) -> None:
    context.backbone = LeNet5(3, 32).eval()  # 5 x 5 convolutions without padding
    assert search(context, root, sizes=[32]).numbers["n_queries"] == 12
    with pytest.raises(ValueError, match=r"a/0.png or its region is 8 x 6 pixels at evaluation.sizes=8, too small for"):
        search(context, root, sizes=[8])


def test_folders_whose_results_would_share_a_name_are_refused(context: EvaluationContext, root: Path) -> None:
    (root / "b").rename(root / "aqe")
    with pytest.raises(ValueError, match="the results of aqe and of expansion"):
        search(context, root)
    assert search(context, root, queries=["a"]).numbers["n_queries"] == 6


def test_pca_of_other_images_and_the_default_size(context: EvaluationContext, root: Path, tmp_path: Path) -> None:
    for i in range(5):
        write(tmp_path / "others", f"deep/{i}.png", 50 + i)
    settings = {"pca_root": str(tmp_path / "others"), "pca_images": 3, "sizes": None}
    numbers = search(context, root, **settings).numbers
    assert isinstance(context.progress, Said)
    said = "\n".join(context.progress.lines)
    assert "larger side [146]" in said and "fitted on 3 images" in said and "no PCA" not in said  # 32 * 1024 / 224
    assert numbers["recall_at_1_a"] == 1.0
    (tmp_path / "others/deep/3.png").write_bytes(b"no picture")  # 0, 1 and 3 are taken
    search(context, root, **settings)
    assert "fitted on 2 images (1 others cannot be decoded)" in "\n".join(context.progress.lines)
    assert search(context, root, **settings, pca="none").numbers["n_queries"] == 12


def test_oxford_with_regions_and_the_revisited_protocol(context: EvaluationContext, tmp_path: Path) -> None:
    """The same three buildings in both layouts; the query is a region of its own image."""
    folder = tmp_path / "ox"
    for i in range(4):
        write(folder, f"jpg/hall_{i}.png", i)
    (folder / "hall_1_query.txt").write_text("oxc1_hall_0 0 0 50 40")
    for part, text in {"good": "hall_0", "ok": "hall_1", "junk": "hall_2"}.items():
        (folder / f"hall_1_{part}.txt").write_text(text)
    found = search(context, folder)
    assert found.rankings[0, 0] == 0  # the region is the whole image
    place = [i for i in found.rankings[0].tolist() if i != 2].index(1)
    expected = 1.0 if place == 1 else (1 + (1 / place + 2 / (place + 1)) / 2) / 2
    assert found.numbers["map"] == pytest.approx(expected)
    (folder / "hall_1_query.txt").write_text("oxc1_hall_0 60 60 70 70")
    with pytest.raises(ValueError, match="nothing is left of the query's region"):
        search(context, folder)
    content = {
        "imlist": ["hall_0", "hall_1", "hall_2"],
        "qimlist": ["hall_3"],
        "gnd": [{"bbx": [0, 0, 50, 40], "easy": [0], "hard": [1], "junk": []}],
    }
    (folder / "gnd_rhalls.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match="looks like revisited and oxford"):
        search(context, folder)
    numbers = search(context, folder, layout="revisited").numbers
    assert {"map_easy", "map_medium", "map_hard", "mp_at_10_hard"} <= set(numbers)
    assert 0 < numbers["map_hard"] <= 1 and numbers["n_database"] == 3


def test_the_page_frames_right_and_wrong_answers(context: EvaluationContext, root: Path) -> None:
    numbers = Retrieval(root=str(root), sizes=[SIZE], n_shown=3).run(context)
    assert numbers["recall_at_1_a"] == 1.0
    with Image.open(context.folder / "answers.png") as page:
        size = page.size
    found = search(context, root)
    rows = evenly_chosen(found, 3)
    precisions = [row.average_precision for row in rows]
    assert precisions == sorted(precisions, reverse=True) and precisions[0] == 1.0
    assert precisions[-1] == min(a.average_precision for a in found.answers)
    drawn = answer_page(found, rows)
    assert drawn.size == size
    # From the left: the query's grey frame, then one frame for each answer.
    top = next(y for y in range(drawn.height) if drawn.getpixel((16, y)) == (110, 110, 110))
    row = [drawn.getpixel((x, top + 60)) for x in range(drawn.width)]
    lefts = [x for x in range(1, len(row)) if row[x] in COLOURS.values() and row[x - 1] == (255, 255, 255)]
    firsts = [row[x] for x in lefts[::2] if row[x + FRAME - 1] == row[x]]
    assert firsts[0] == COLOURS["positive"] and set(firsts[1:]) == {COLOURS["wrong"]}
    assert json.dumps(numbers)
