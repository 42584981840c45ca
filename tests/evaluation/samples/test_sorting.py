import os
from pathlib import Path

import pytest

from deepcluster.evaluation.samples.sorting import MODES, SORTED, carried_names, plan, read_column, sort, undo

CLUSTERS = {"a/1.jpg": "0", "b/1.jpg": "0", "b/2.jpg": "10", "3.jpg": "2"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for sample in CLUSTERS:
        (tmp_path / "root" / sample).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / sample).write_text(sample)
    return tmp_path / "root"


def content(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != SORTED)
    return {str(path.relative_to(folder)): path.read_text() for path in files}


@pytest.mark.parametrize("mode", MODES)
def test_pictures_lie_by_cluster_and_an_undo_puts_all_back(root: Path, tmp_path: Path, mode: str) -> None:
    out, before = tmp_path / "out", content(root)
    moves = plan(CLUSTERS, root, out, {"2": "cats: big/small"})
    assert not out.exists()  # a plan does nothing
    sort(moves, out, mode)
    assert content(out) == {
        "00/a__1.jpg": "a/1.jpg",
        "00/b__1.jpg": "b/1.jpg",
        "10/2.jpg": "b/2.jpg",
        "cats_ big_small/3.jpg": "3.jpg",
    }
    assert (out / "10/2.jpg").is_symlink() == (mode == "link")
    assert content(root) == ({} if mode == "move" else before)
    with pytest.raises(ValueError, match="earlier sort"):
        sort(moves, out, mode)
    assert undo(out) == 0
    assert content(root) == before and content(out) == {} and os.listdir(out) == []


@pytest.mark.parametrize("mode", MODES)
def test_a_sort_that_was_broken_off_is_undone_too(root: Path, tmp_path: Path, mode: str) -> None:
    out, before = tmp_path / "out", content(root)
    moves = plan(CLUSTERS, root, out, {})
    (out / "10").mkdir(parents=True)
    (out / "10" / "2.jpg").write_text("another's")  # came between plan and sort: the sort stops there
    with pytest.raises(FileExistsError):
        sort(moves, out, mode)
    assert undo(out) == 1
    assert content(root) == before and content(out) == {"10/2.jpg": "another's"}


def test_nothing_is_planned_over_another_file_or_for_a_lost_one(root: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "02").mkdir(parents=True)
    (tmp_path / "out" / "02" / "3.jpg").symlink_to("nowhere")
    with pytest.raises(ValueError, match=r"3\.jpg is there already"):
        plan(CLUSTERS, root, tmp_path / "out", {})
    (root / "3.jpg").unlink()
    with pytest.raises(ValueError, match=r"3\.jpg is gone"):
        plan(CLUSTERS, root, tmp_path / "other", {})


def test_a_changed_copy_is_kept(root: Path, tmp_path: Path) -> None:
    sort(plan(CLUSTERS, root, tmp_path / "out", {}), tmp_path / "out", "copy")
    (tmp_path / "out/02/3.jpg").write_text("edited")
    assert undo(tmp_path / "out") == 1
    assert content(tmp_path / "out") == {"02/3.jpg": "edited"}


def test_names_go_where_their_pictures_went() -> None:
    before = {f"{i}.jpg": str(i // 10) for i in range(40)}
    now = before | {f"{i}.jpg": str(7 - i // 10) for i in range(20)}  # 0 -> 7, 1 -> 6; 2 stays
    now |= {f"{i}.jpg": str(20 + i) for i in range(30, 40)}  # 3 is scattered
    names = {"0": "cats", "2": "dogs", "3": "cars", "9": "gone"}
    assert carried_names(names, before, now | {"new.jpg": "7"}) == {"7": "cats", "2": "dogs"}
    assert carried_names({}, before, now) == {}


def test_a_file_without_its_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("number,name\n1,cat\n")
    with pytest.raises(ValueError, match="has no column cluster"):
        read_column(tmp_path / "names.csv", "cluster", "name")


def test_a_file_that_a_spreadsheet_has_written_is_read(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_bytes(b"\xef\xbb\xbfcluster,name\r\n1,caf\xc3\xa9\r\n")
    assert read_column(tmp_path / "names.csv", "cluster", "name") == {"1": "café"}
