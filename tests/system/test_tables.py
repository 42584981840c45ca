"""Tables come back from their files as they were written."""

import csv
import os
from pathlib import Path

import pytest

from deepcluster.system.tables import aligned, write_csv, write_records


def read(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.reader(file))


def test_any_cell_comes_back(tmp_path: Path) -> None:
    name = os.fsdecode(b"not utf-8 \xff.jpg")
    rows = [[name, 1], ['a "quoted", long one', 0.1], ["two\nlines", None], ["lone \r return", 2]]
    write_csv(tmp_path / "new" / "t.csv", ["sample", "x"], rows)
    told = [["" if cell is None else str(cell) for cell in row] for row in rows]
    assert read(tmp_path / "new" / "t.csv") == [["sample", "x"], *told]
    assert b"\xff" in (tmp_path / "new" / "t.csv").read_bytes()


def test_records_may_lack_values(tmp_path: Path) -> None:
    write_records(tmp_path / "t.csv", [{"a": 1, "b": 2}, {"b": 3, "c": 4}], columns=["c"])
    assert (tmp_path / "t.csv").read_text() == "c,a,b\n,1,2\n4,,3\n"


def test_a_table_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", ["a"], [[1]])
    with pytest.raises(ZeroDivisionError):
        write_csv(tmp_path / "t.csv", ["a"], ([1 // n] for n in (1, 0)))
    assert (tmp_path / "t.csv").read_text() == "a\n1\n"


def test_columns_are_aligned() -> None:
    assert aligned([["", "NMI"], ["own, train", "0.5"]]) == ["            NMI", "own, train  0.5"]
