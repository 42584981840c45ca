import csv
from pathlib import Path

import pytest
import torch

from deepcluster.data.images import MemoryImages
from deepcluster.evaluation.clusters import clusters_file
from deepcluster.evaluation.clusters.clusters_file import Column, write_clusters

SAMPLES = ["a,b.png", "caf\udcc3.png", 'say "x".png', "d.png", "e.png"]


def pictures(labels: list[int] | None, classes: list[str] | None = None) -> MemoryImages:
    known = None if labels is None else torch.tensor(labels)
    return MemoryImages(images=torch.zeros(5, 1, 4, 4).byte(), samples=SAMPLES, labels=known, classes=classes)


@pytest.mark.parametrize("rows", [1, 2, 65_536])
def test_clusters_csv_is_the_same_in_any_blocks(rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters_file, "ROWS_AT_ONCE", rows)
    clusters, file = torch.tensor([3, 0, 0, 2, 1]), tmp_path / "clusters.csv"
    write_clusters(file, pictures([0, -1, 1, 1, 0], ["cat", "dog"]), clusters)
    with file.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        found = list(csv.reader(stream))
    assert found[0] == ["sample", "cluster", "label"]
    expected = zip(SAMPLES, ["3", "0", "0", "2", "1"], ["cat", "", "dog", "dog", "cat"], strict=True)
    assert found[1:] == [list(row) for row in expected]
    assert b"\r" not in file.read_bytes()
    write_clusters(file, pictures(None), clusters)
    assert file.read_bytes().startswith(b'sample,cluster\n"a,b.png",3\ncaf\xc3.png,0\n')
    assert [path.name for path in tmp_path.iterdir()] == ["clusters.csv"]


def test_further_columns_stand_between_cluster_and_label(tmp_path: Path) -> None:
    further = [
        Column(name="distance", values=torch.tensor([0.5, 1.25, 3.0, torch.nan, 2.0]), form="{:.3g}"),
        Column(name="group", values=torch.tensor([-1, 0, 0, 7, -1])),
    ]
    write_clusters(tmp_path / "c.csv", pictures([0, 1, 1, -1, 0], ["cat", "dog"]), torch.arange(5), further)
    with (tmp_path / "c.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        found = [row[1:] for row in csv.reader(stream)]
    assert found[0] == ["cluster", "distance", "group", "label"]
    assert found[1:3] == [["0", "0.5", "", "cat"], ["1", "1.25", "0", "dog"]]
    assert found[4] == ["3", "", "7", ""]


@pytest.mark.parametrize("name", ["a\rb", "a\nb", "a\r\nb", '\r"'])
def test_line_ends_in_names_come_back(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "SAMPLES", [name, *SAMPLES[1:]])
    file = tmp_path / "clusters.csv"
    for labels in ([0] * 5, None):
        write_clusters(file, pictures(labels, [name]), torch.arange(5))
        with file.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
            found = list(csv.reader(stream))
        assert found[1] == [name, "0", *([] if labels is None else [name])] and len(found) == 6


def test_a_failure_leaves_the_file_of_before(tmp_path: Path) -> None:
    file = tmp_path / "clusters.csv"
    file.write_text("before")
    write = [pictures(None), torch.tensor([3, 0, 0, 2])]  # a label too few
    with pytest.raises(AssertionError):
        write_clusters(file, *write)  # type: ignore[arg-type]
    assert file.read_text() == "before"
