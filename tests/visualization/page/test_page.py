"""The data of a page: every image once, the right pictures in the right places, what other files of the run tell."""

import json
import re
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch
from PIL import Image
from support.page_of_run import N, colour, run_with_page, write_pictures

from deepcluster.clustering.history import read_assignments
from deepcluster.data.settings import Folder
from deepcluster.evaluation.clusters.clustered_images import cluster_images, rows_for, stored_assignment
from deepcluster.evaluation.clusters.merged_clusters import merge_clusters
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.features.settings import Extraction
from deepcluster.run.evaluate import context_of_file, contexts, evaluate
from deepcluster.settings.eval import EvalConfig
from deepcluster.system.tables import write_csv
from deepcluster.visualization.page import run_files
from deepcluster.visualization.page.chunks import read_chunk, write_chunk, write_in_chunks
from deepcluster.visualization.page.evaluation import Page
from deepcluster.visualization.page.sheets import cover_ranks
from deepcluster.weights.checkpoint import load_checkpoint
from deepcluster.weights.network import build_backbone
from deepcluster.weights.recognise import read_weights_with_card

WEB = Path(run_files.__file__).parent / "web"


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """The run's folder, whose page train wrote and eval.py wrote again with lossless thumbnails; name -> number."""
    folder = tmp_path_factory.mktemp("page")
    by_name = write_pictures(folder / "photographs")
    run = run_with_page(folder)
    assert Image.open(run / "page" / "sheets" / "0.jpg").size == (4 * 96, 4 * 96)
    names = list(by_name)
    write_csv(
        run / "duplicates.csv",
        ["group", "sample", "kind", "distance", "keep"],
        [
            *([1, names[20], "near", 0.1, "no"], [1, names[0], "exact", 0, "yes"], [2, names[7], "near", 0.2, "yes"]),
            *([2, names[9], "near", 0.25, "no"], [2, names[8], "near", 0.125, "no"]),
            *([3, "gone.png", "near", 0.1, "no"], [3, "gone too.png", "exact", 0, "yes"]),
            *([4, names[30], "exact", 0, "yes"], [4, "test/same.png", "exact", 0, "no"]),
        ],
    )
    odd = [[names[5], 2.5, 2, "true"], [names[12], 3.5, 1, "true"], [names[3], 1.1, 3, "false"]]
    write_csv(run / "odd.csv", ["sample", "score", "rank", "odd"], odd)
    write_csv(run / "names.csv", ["cluster", "name"], [[3, "warm </script> colours"], [4, ""]])
    evaluate(EvalConfig(ckpt=str(run), evaluation=Page(thumbnail=32)), folder / "eval")
    return run, by_name


def names_of(run: Path) -> list[str]:
    chunks = len(list((run / "page" / "data").glob("names_*.js")))
    return [name for i in range(chunks) for name in read_chunk(run / "page" / "data", f"names_{i}")]


def test_every_picture_stands_once_in_its_own_cluster(numbers):
    run, by_name = numbers
    overview, names = read_chunk(run / "page" / "data", "overview"), names_of(run)
    assert sorted(names) == sorted(by_name) and overview["n"] == N == sum(overview["clusters"]["size"])
    own = read_assignments(run).of("final")
    table = overview["clusters"]
    by_place = np.repeat(table["number"], table["size"]).tolist()
    assert by_place == [own[name] for name in names]
    assert table["number"] == sorted(set(own.values()))
    distances = read_chunk(run / "page" / "data", "columns")["distance"]
    for row, part in enumerate(np.split(distances, np.cumsum(table["size"])[:-1])):
        assert (np.diff(part) >= 0).all()
        assert part.mean() == pytest.approx(table["distance"][row], abs=1e-4)
    labels = read_chunk(run / "page" / "data", "columns")["label"]
    assert [overview["classes"][c] for c in labels] == [name.split("/")[0] for name in names]
    first = labels[: table["size"][0]]
    assert table["shares"][0][0] == [
        int(np.bincount(first).argmax()),
        pytest.approx(np.bincount(first).max() / len(first), abs=1e-4),
    ]


def test_groups_and_the_scan_for_k_stand_on_the_page(numbers, tmp_path):
    run, _ = numbers
    assert "group" not in read_chunk(run / "page/data", "overview")["clusters"]
    scanned = copytree(run, tmp_path / "run", symlinks=True)
    (scanned / "k_scan.json").write_text('{"k": 5, "told": "sure: said", "scan": {}}')
    (scanned / "k_scan.svg").write_text("<svg/>")
    evaluate(EvalConfig(ckpt=str(scanned), evaluation=Page(groups=3)), tmp_path / "eval")
    overview = read_chunk(scanned / "page/data", "overview")
    assignment = load_checkpoint(scanned).assignment
    assert assignment is not None
    groups = merge_clusters(assignment, 3).groups
    assert overview["clusters"]["group"] == [groups[number] for number in overview["clusters"]["number"]]
    assert overview["scan"] == {"k": 5, "told": "sure: said", "picture": "k_scan.svg"}
    assert (scanned / "page/k_scan.svg").read_text() == "<svg/>"
    with pytest.raises(ValueError, match=r"evaluation.groups=6 is more than the run's 5 clusters; lower it"):
        evaluate(EvalConfig(ckpt=str(scanned), evaluation=Page(groups=6)), tmp_path / "eval")


def test_a_page_of_one_picture_is_refused(numbers, tmp_path):
    Image.new("RGB", (40, 40)).save(tmp_path / "alone.png")
    alone = Folder(root=str(tmp_path))
    with pytest.raises(ValueError, match="holds one picture; a page shows how several lie"):
        evaluate(EvalConfig(ckpt=str(numbers[0]), data=alone, evaluation=Page()), tmp_path / "eval")


def test_sheets_and_covers_show_the_picture_of_each_name(numbers):
    run, by_name = numbers
    names, page = names_of(run), run / "page"
    sheets = [np.array(Image.open(page / "sheets" / f"{i}.png")) for i in range(-(-N // 16))]
    assert len(list((page / "sheets").iterdir())) == len(sheets), "the earlier page's sheets are gone"
    for place, name in enumerate(names):
        row, column = divmod(place % 16, 4)
        tile = sheets[place // 16][row * 32 : row * 32 + 32, column * 32 : column * 32 + 32]
        assert (tile == colour(by_name[name])).all(), name
    table, start = read_chunk(page / "data", "overview")["clusters"], 0
    for number, size in zip(table["number"], table["size"], strict=True):
        cover = np.array(Image.open(page / "covers" / f"{number}.png"))
        for cell, rank in enumerate(cover_ranks(size)):
            row, column = divmod(cell, 3)
            assert tuple(cover[row * 32 + 5, column * 32 + 5]) == colour(by_name[names[start + rank]])
        start += size


def test_rows_that_are_known_need_no_pass_and_give_the_same_clusters(
    numbers: tuple[Path, dict[str, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context_of = contexts(tmp_path, Extraction(), seed=1, precision="32-true", device=torch.device("cpu"))
    context = context_of_file(str(numbers[0]), None, None, None, context_of)
    images, rows = context.train_images, rows_for(N, stored_assignment(context), tmp_path)
    passed = cluster_images(context, images, visit=lambda indices, x: rows.__setitem__(indices, x))
    known = replace(context, loaded_images=images, loaded_rows=rows)
    monkeypatch.setattr(EvaluationContext, "feature_pass", None)
    found = cluster_images(known, images)
    assert torch.equal(found.clusters, passed.clusters) and torch.equal(found.distances, passed.distances)
    assert found.own and found.nearest_share == passed.nearest_share


def test_covers_spread_from_the_nearest_to_the_farthest():
    assert cover_ranks(1) == [0] and cover_ranks(4) == [0, 1, 2, 3] and cover_ranks(11) == [0, 2, 4, 6, 8, 10]


def test_similar_pictures_are_the_nearest_of_all(numbers):
    run, by_name = numbers
    names = names_of(run)
    similar = read_chunk(run / "page" / "data", "similar_0").reshape(N, 12)
    assert (np.sort(similar, axis=1)[:, 1:] > np.sort(similar, axis=1)[:, :-1]).all()
    assert not (similar == np.arange(N)[:, None]).any()
    rows = reduced_rows(run)[[by_name[name] for name in names]]
    distances = torch.cdist(rows, rows).fill_diagonal_(torch.inf).numpy()
    nearest = np.sort(distances, axis=1)[:, :12]
    shown = np.take_along_axis(distances, similar, 1)
    np.testing.assert_allclose(shown, nearest, rtol=0.02, atol=0.02)  # the run's features are bf16 on some processors
    assert np.median(distances) > 10 * np.abs(shown - nearest).max()


def reduced_rows(run: Path) -> torch.Tensor:
    """The rows (N, P) of the pictures by their numbers. Every crop of a plain picture is the plain colour."""
    stored, assignment = read_weights_with_card(str(run)), load_checkpoint(run).assignment
    card = stored.card
    assert card is not None and assignment is not None and assignment.reduction is not None
    colours = torch.tensor([colour(i) for i in range(N)])[:, :, None, None] / 255
    mean, std = (torch.tensor(card[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        crops = ((colours - mean) / std).expand(-1, -1, card["image_size"], card["image_size"])
        return assignment.reduction.apply(build_backbone(card, weights=stored).eval()(crops))


def test_the_page_tells_what_other_files_of_the_run_hold(numbers):
    run, by_name = numbers
    data, names = run / "page" / "data", names_of(run)
    groups = [
        [(names[m["image"]] if "image" in m else m["name"], m["kind"], m["distance"], m["keep"]) for m in group]
        for group in read_chunk(data, "duplicates")
    ]
    of = {i: name for name, i in by_name.items()}
    assert groups == [
        [(of[7], "near", 0.2, True), (of[8], "near", 0.125, False), (of[9], "near", 0.25, False)],
        [(of[0], "exact", 0.0, True), (of[20], "near", 0.1, False)],
        [(of[30], "exact", 0.0, True), ("test/same.png", "exact", 0.0, False)],
    ]
    odd = read_chunk(data, "odd")
    assert [names[i] for i in odd["images"]] == [of[12], of[5]] and odd["scores"] == [3.5, 2.5]
    overview = read_chunk(data, "overview")
    assert overview["names"] == {"3": "warm </script> colours"}
    assert (overview["n_odd"], overview["n_duplicates"]) == (2, 3)
    summary = json.loads((run / "summary.json").read_text())
    assert overview["figures"]["table"] == summary["table"] and summary["table"][-1][0] == "clusters used"
    assert overview["figures"]["learned"] is summary["learned"] is None  # nothing was trained


def test_originals_are_found_beside_the_page_and_where_they_were(numbers):
    run, by_name = numbers
    images = read_chunk(run / "page" / "data", "overview")["images"]
    assert images["root"] == str(run.parent / "photographs") and images["relative"] == "../../photographs"
    assert all((run / "page" / images["relative"] / name).is_file() for name in by_name)


def test_names_are_written_so_that_scripts_hold_text_only(numbers):
    run, _ = numbers
    assert all(file.read_bytes().isascii() for file in (run / "page" / "data").iterdir())
    assert "<title>photographs</title>" in (run / "page" / "index.html").read_text()
    assert "innerHTML" not in "".join(file.read_text() for file in WEB.glob("*.js"))
    assert not re.search(r"https?://", "".join(file.read_text() for file in WEB.iterdir())), "nothing of the network"


def test_values_come_back_from_chunks_as_they_were(tmp_path):
    value = {"a": [1, None, "\udcff\u2028</script>"], "x": np.array([0, 65535], np.uint16)}
    write_chunk(tmp_path, "v", value)
    back = read_chunk(tmp_path, "v")
    assert back["a"] == value["a"] and back["x"].tolist() == [0, 65535]
    assert write_in_chunks(tmp_path, "w", np.arange(10, dtype=np.int32).reshape(5, 2), 2) == 3
    assert read_chunk(tmp_path, "w_2").tolist() == [8, 9]


def test_a_folder_without_other_files_has_none_of_it(tmp_path):
    places = {"a": 0}
    assert run_files.duplicates(tmp_path, places) == [] and run_files.odd_pictures(tmp_path, places) == {}
    assert run_files.margins(tmp_path, places) is None
    assert run_files.figures(tmp_path) == {"given_up": 0, "table": [], "learned": None, "alike": [], "sure": {}}


@pytest.mark.parametrize(("kept", "nmi"), [("trained", 0.3), ("start", 0.7)])
def test_how_sure_the_clusters_are_is_told_of_the_network_that_made_them(kept: str, nmi: float, tmp_path: Path) -> None:
    measured = {"pretrained": {"nmi_previous": 0.7}, "trained": {"nmi_previous": 0.3}}
    summary = {"kept": kept, "start": "pretrained", "epochs": 3, **measured}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    figures = run_files.figures(tmp_path)
    assert figures["sure"] == {"nmi_previous": nmi} and figures["given_up"] == (3 if kept == "start" else 0)


def test_margins_need_every_image(tmp_path):
    write_csv(tmp_path / "clusters.csv", ["sample", "cluster", "margin"], [["b", 0, 0.25], ["a", 1, 0.5], ["c", 1, 3]])
    margins = run_files.margins(tmp_path, {"a": 0, "b": 1})
    assert margins is not None and margins.tolist() == [0.5, 0.25]
    assert run_files.margins(tmp_path, {"a": 0, "b": 1, "d": 2}) is None


def test_a_run_writes_a_page_of_a_folder_unless_told_not_to(tmp_path):
    write_pictures(tmp_path / "photographs")
    assert not (run_with_page(tmp_path, "page=false") / "page").exists()
