"""Kept work: the same facts go on, others are refused, damage is computed again."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from deepcluster.evaluation.kept_work import KeptWork, facts_of
from deepcluster.evaluation.probe.recipes import Knn


def kept(folder: Path, **facts: str) -> KeptWork:
    return KeptWork(folder=folder, facts={"seed": "1", **facts})


def test_a_piece_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert kept(tmp_path).read("a") is None
    kept(tmp_path).write("a", {"x": torch.arange(3), "names": ["b", None], "n": 0.5})
    piece = kept(tmp_path).read("a")
    assert piece["x"].tolist() == [0, 1, 2] and piece["names"] == ["b", None] and piece["n"] == 0.5
    assert kept(tmp_path).read("a", mmap=True)["x"].tolist() == [0, 1, 2]
    assert [file.name for file in tmp_path.iterdir()] == ["a.state"]


def test_a_piece_of_other_facts_is_refused_with_the_first_that_differs(tmp_path: Path) -> None:
    kept(tmp_path, lr="0.1").write("a", 1)
    with pytest.raises(ValueError, match=r"a\.state was .* its lr is 0\.1, now it is 0\.2; choose another"):
        kept(tmp_path, lr="0.2").read("a")
    with pytest.raises(ValueError, match=r"its lr is 0\.1, now it is absent"):
        kept(tmp_path).read("a")
    assert replace(kept(tmp_path), refuse=False).read("a") is None


@pytest.mark.parametrize("how", ["cut", "turned", "other"])
def test_a_damaged_piece_is_computed_again_and_told(tmp_path: Path, how: str) -> None:
    told: list[str] = []
    work = KeptWork(folder=tmp_path, facts={}, say=told.append)
    work.write("a", torch.arange(1000))
    data = bytearray((tmp_path / "a.state").read_bytes())
    if how == "cut":
        data = data[: len(data) // 2]
    elif how == "turned":
        data[data.index(torch.arange(500, 510).numpy().tobytes())] ^= 1
    else:
        data = bytearray(b"of another program")
    (tmp_path / "a.state").write_bytes(data)
    assert work.read("a") is None and told == ["a.state is damaged and is computed again"]


def test_facts_are_named_as_settings_are_typed() -> None:
    network = nn.Linear(2, 2)
    facts = facts_of(network, seed=3, knn=Knn(k=5), sizes=(1, 2))
    assert facts["seed"] == "3" and facts["knn.k"] == "5" and facts["sizes"] == "[1, 2]"
    before = facts["weights"]
    with torch.no_grad():
        network.weight[0, 0] += 1
    assert facts_of(network)["weights"] != before
