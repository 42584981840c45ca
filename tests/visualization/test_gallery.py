"""Galleries: which members are shown, what stands on the pages, and that it is the run's own clusters."""

import csv
import re
from collections.abc import Iterator
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image
from support.configs import CONFIGS
from torch import Tensor

from deepcluster.app.hydra_setup import register
from deepcluster.run.evaluate import evaluate
from deepcluster.run.train import train
from deepcluster.settings.eval import EvalConfig
from deepcluster.settings.train import train_config
from deepcluster.visualization.gallery import Gallery
from deepcluster.visualization.gallery_html import Pages, data_uri
from deepcluster.visualization.gallery_members import Members, choose_members, in_order
from deepcluster.visualization.gallery_orders import ORDERS
from deepcluster.visualization.gallery_sheets import GAP, MARGIN, TEXT, gallery_sheet
from deepcluster.weights import checkpoint

# Three of four clusters hold images: 0 has five, 2 has one, 3 has two.
CLUSTERS = torch.tensor([0, 0, 0, 0, 0, 2, 3, 3])
DISTANCES = torch.tensor([0.5, 0.1, 0.4, 0.2, 0.3, 1.0, 0.6, 0.2])
LABELS = torch.tensor([1, 1, 0, -1, 0, -1, 2, 2])


def members(n_members: int = 2) -> list[Members]:
    return choose_members(CLUSTERS, DISTANCES, LABELS, k=4, n_members=n_members, seed=1)


def test_members_are_those_worked_out_by_hand():
    first, single, pair = members()
    assert (first.number, first.size, first.nearest, first.farthest, first.random) == (0, 5, [1, 3], [0, 2], [4])
    assert first.mean_distance == pytest.approx(0.3)
    # Two of each among four labelled images: the smaller label, half of them.
    assert (first.majority, first.purity, first.classes) == (0, 0.5, [(0, 0.5), (1, 0.5)])
    assert (single.number, single.nearest, single.farthest, single.random) == (2, [5], [], [])
    assert (single.majority, single.purity) == (None, None)
    assert (pair.number, pair.nearest, pair.farthest, pair.majority, pair.purity) == (3, [7, 6], [], 2, 1.0)


def test_no_member_is_shown_twice_and_random_ones_do_not_depend_on_other_clusters():
    clusters = torch.arange(400) % 7
    distances = torch.rand(400, generator=torch.Generator().manual_seed(0))
    found = choose_members(clusters, distances, None, k=7, n_members=6, seed=1)
    for cluster in found:
        assert len(set(cluster.shown)) == 18 and bool((clusters[cluster.shown] == cluster.number).all())
        inner = distances[cluster.random]
        assert float(inner.min()) >= float(distances[cluster.nearest].max())
        assert float(inner.max()) <= float(distances[cluster.farthest].min())
    moved = distances.clone()
    moved[clusters != 3] = moved[clusters != 3].flip(0)
    assert choose_members(clusters, moved, None, k=7, n_members=6, seed=1)[3] == found[3]
    assert choose_members(clusters, distances, None, k=7, n_members=6, seed=2)[3].random != found[3].random


def test_orders():
    expected = {
        "largest": [0, 3, 2],
        "smallest": [2, 3, 0],
        "compact": [0, 3, 2],  # 0.3, 0.4, 1.0
        "loose": [2, 3, 0],
        "pure": [3, 0, 2],  # the one without labels at the end
        "mixed": [0, 3, 2],
        "number": [0, 2, 3],
    }
    assert {order: [c.number for c in in_order(members(), order)] for order in ORDERS} == expected


def thumbs(indices: list[int]) -> dict[int, Tensor]:
    """Image i is grey i + 1 everywhere."""
    return {i: torch.full((3, 4, 4), i + 1, dtype=torch.uint8) for i in indices}


def pages(per_page: int, order: str = "largest") -> dict[str, str]:
    made = Pages(
        title='<b>my "photos"</b>',
        facts=["8 images & more"],
        shown=in_order(members(), order),
        order=order,
        names={0: "cat", 1: "<script>dog</script>", 2: "a&b"},
        samples=lambda i: f"train/<img src=x onerror=alert({i})>/é {i}\udcff.jpg",
        per_page=per_page,
        size=4,
        n_members=2,
    )
    return {name: content.decode() for name, content in made.write(thumbs)}


class Tags(HTMLParser):
    """Collects (tag, attributes)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("per_page", [1, 10])
def test_pages_hold_all_they_need_and_only_what_was_meant(per_page):
    for name, text in pages(per_page).items():
        found = Tags(text).found
        assert "script" not in {tag for tag, _ in found} and not re.search(r"https?://", text), name
        for tag, attributes in found:
            assert not [key for key in attributes if key.startswith("on")]
            if tag == "img":
                assert str(attributes["src"]).startswith("data:image/png;base64,")
        assert escape('<b>my "photos"</b>') in text or "<b>my" not in text


def test_names_are_readable_again_after_escaping():
    images = [a for tag, a in Tags(pages(10)["index.html"]).found if tag == "img" and a.get("title")]
    assert len(images) == sum(len(cluster.shown) for cluster in members())
    assert "train/<img src=x onerror=alert(1)>/é 1\\udcff.jpg" in [a["title"] for a in images]


@pytest.mark.parametrize("per_page", [1, 2, 10])
def test_every_link_leads_to_a_cluster(per_page):
    written = pages(per_page)
    assert sorted(written) == (
        ["index.html"]
        if per_page == 10
        else ["index.html", *[f"page_{i:03d}.html" for i in range(1, 4 - per_page + 1)]]
    )
    there = {f"{name}#{a['id']}" for name, text in written.items() for tag, a in Tags(text).found if tag == "section"}
    assert {link.split("#")[1] for link in there} == {"c0", "c2", "c3"}
    for name, text in written.items():
        for tag, a in Tags(text).found:
            if tag == "a":
                href = str(a["href"])
                target = href if href.partition("#")[0] else name + href
                assert target in there or target in written, target


def test_a_page_is_sorted_by_css_and_starts_in_the_order_asked_for():
    text = pages(10, "compact")["index.html"]
    checked = [a["id"] for tag, a in Tags(text).found if tag == "input" and "checked" in a]
    assert checked == ["by-compact"]
    tiles = {str(a["href"]): str(a["style"]) for tag, a in Tags(text).found if a.get("class") == "tile"}
    assert "--smallest:2" in tiles["#c0"] and "--pure:1" in tiles["#c0"]
    assert "#by-pure:checked~.tiles .tile,#by-pure:checked~.clusters .cluster{order:var(--pure)}" in text


def test_small_thumbnails_lose_nothing_and_large_ones_are_jpeg():
    assert data_uri(thumbs([7])[7]).startswith("data:image/png")
    assert data_uri(torch.zeros(3, 96, 96, dtype=torch.uint8)).startswith("data:image/jpeg")


def test_a_sheet_shows_each_member_in_its_place(tmp_path):
    shown = in_order(members(), "largest")
    names = {0: "cat", 1: "dog", 2: "a very long name of a class indeed"}
    content = gallery_sheet(shown, thumbs(list(range(8))), names, 2)
    (tmp_path / "sheet.png").write_bytes(content)
    picture = np.array(Image.open(tmp_path / "sheet.png"))
    side, left, top = 56, MARGIN + TEXT, MARGIN + 24
    row = picture[top + side // 2, left:]
    group = 2 * side + GAP + 20
    greys = [int(row[start * group + column * (side + GAP) + 5, 0]) for start in range(3) for column in range(2)]
    assert greys == [2, 4, 1, 3, 5, 255]  # nearest 1 and 3, farthest 0 and 2, random 4 and none
    assert picture[top + 2 * 76 + 5, left + 5].tolist() == [6, 6, 6]  # the third row: cluster 2's only image


@pytest.fixture(scope="module")
def hydra() -> Iterator[None]:
    register()
    with initialize_config_dir(str(CONFIGS), version_base="1.3", job_name="test"):
        yield


@pytest.fixture(scope="module", params=["kmeans", "pic"])
def finished(request, hydra, tmp_path_factory) -> Path:
    """The folder of a run of no epochs on 120 images."""
    folder: Path = tmp_path_factory.mktemp(request.param) / "run"
    small = ["data.limit=120", "view.size=32", "arch=lenet5", "reduction.dim=8", "evaluation.enabled=false"]
    kind = ["clustering=pic"] if request.param == "pic" else ["clustering.k=5"]
    train(train_config(compose("train", [*small, *kind, "trainer.max_epochs=0"])), folder)
    return folder


def read(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def test_the_clusters_are_the_runs_own(finished, tmp_path):
    results = evaluate(EvalConfig(ckpt=str(finished), evaluation=Gallery(formats=["png"])), tmp_path)
    assert read(tmp_path / "clusters.csv") == read(finished / "clusters.csv")
    stored = checkpoint.load_checkpoint(finished).assignment
    assert stored is not None
    rows = {int(row["cluster"]): row for row in read(tmp_path / "gallery.csv")}
    assert [int(rows[i]["size"]) for i in range(stored.k)] == stored.sizes().tolist()
    assert [int(row["size"]) for row in read(tmp_path / "gallery.csv")] == sorted(stored.sizes().tolist(), reverse=True)
    n, own = results["n_images"], stored.sizes().double()
    purity = sum(float(rows[i]["purity"]) * float(own[i]) for i in range(stored.k)) / n
    assert results["purity"] == pytest.approx(purity, abs=1e-4) and results["clusters_used"] == stored.k
    # Jensen: a mean of distances is at most the root of the mean square, which the objective tells.
    assert 0.5 < results["mean_distance"] / (stored.objective / n) ** 0.5 <= 1.001
    nearest = evaluate(
        EvalConfig(ckpt=str(finished), evaluation=Gallery(formats=["html"], clusters="nearest")), tmp_path / "nearest"
    )
    assert nearest["nearest_centroid_share"] == 1.0
    same = read(tmp_path / "nearest" / "clusters.csv") == read(finished / "clusters.csv")
    assert same is (results["nearest_centroid_share"] == 1.0)


def test_other_images_get_the_nearest_centroid(finished, tmp_path):
    test = Gallery(split="test", formats=["html"], n_clusters=2, order="pure")
    results = evaluate(EvalConfig(ckpt=str(finished), evaluation=test), tmp_path)
    assert results["nearest_centroid_share"] == 1.0
    text = (tmp_path / "index.html").read_text()
    assert "nearest centroid" in text and text.count("<section") == 2
    with pytest.raises(ValueError, match=r"evaluation.clusters=own: these .* are not those that the run"):
        evaluate(EvalConfig(ckpt=str(finished), evaluation=Gallery(split="test", clusters="own")), tmp_path)


def test_a_page_tells_that_a_checkpoint_of_a_run_that_goes_on_has_older_clusters(hydra, tmp_path):
    folder = tmp_path / "run"
    small = ["data.limit=60", "arch=lenet5", "reduction.dim=4", "clustering.k=3", "evaluation.enabled=false"]
    train(train_config(compose("train", [*small, "trainer.max_epochs=1"])), folder)
    told = "from before the last epoch of training"
    for file, older in (("last", True), ("final", False)):
        ckpt = str(folder / "checkpoints" / f"{file}.ckpt")
        evaluate(EvalConfig(ckpt=ckpt, evaluation=Gallery(formats=["html"], n_members=1)), tmp_path / file)
        assert (told in (tmp_path / file / "index.html").read_text()) is older


def test_no_page_of_an_earlier_call_stays(finished, tmp_path):
    (tmp_path / "page_of_mine.html").write_text("")
    for n_clusters in (3, 2):
        gallery = Gallery(n_clusters=n_clusters, clusters_per_page=1, n_members=1, formats=["html"])
        evaluate(EvalConfig(ckpt=str(finished), evaluation=gallery), tmp_path)
    assert {file.name for file in tmp_path.glob("page*")} == {"page_001.html", "page_002.html", "page_of_mine.html"}


def test_impossible_settings_are_refused():
    for key, value in (
        ("order", "big"),
        ("split", "val"),
        ("formats", ["pdf"]),
        ("n_clusters", 0),
        ("n_members", 0),
        ("clusters_per_page", 0),
        ("thumbnail", 4),
        ("clusters", "mine"),
    ):
        with pytest.raises(ValueError, match=rf"evaluation\.{key}"):
            Gallery(**{key: value})
