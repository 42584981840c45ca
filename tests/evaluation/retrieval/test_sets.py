"""Retrieval sets in the layouts in which they are given out, and what is refused."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from reference.pictures import picture

from deepcluster.data.decode import BrokenImage
from deepcluster.evaluation.retrieval import plain_pickle
from deepcluster.evaluation.retrieval.layouts import retrieval_set
from deepcluster.evaluation.retrieval.oxford import CORRUPT
from deepcluster.evaluation.retrieval.sets import RetrievalSet, Truth, read_resized

Make = Callable[..., Path]


def load(root: Path, layout: str = "auto", **settings: Any) -> RetrievalSet:
    return retrieval_set(
        str(root), layout, **{"reference": "reference", "queries": None, "ground_truth": None, **settings}
    )


def names(found: RetrievalSet, indices: frozenset[int]) -> set[str]:
    return {found.database[i].stem for i in indices}


def test_plain_queries_find_their_namesakes(make_folder: Make) -> None:
    root = make_folder(["Reference/1.png", "Reference/2.png", "b/2.png", "a/1.png", "a/2.png", "a/9.png", ".x/1.png"])
    found = load(root)
    assert (found.layout, [p.name for p in found.database]) == ("plain", ["1.png", "2.png"])
    truth = [(q.name, q.group, names(found, q.truths[""].positives)) for q in found.queries]
    assert truth == [("a/1.png", "a", {"1"}), ("a/2.png", "a", {"2"}), ("b/2.png", "b", {"2"})]
    assert found.notes == ["1 queries left out that have no namesake in reference/, first a/9.png"]
    assert [q.name for q in load(root, queries=["B"]).queries] == ["b/2.png"]
    assert len(load(root, "plain", reference="a").database) == 3


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"queries": ["c"]}, r"evaluation.queries: .* has no folder c; it has a, reference"),
        ({"layout": "plain", "reference": "db"}, "evaluation.reference: .* has no folder db"),
        ({"layout": "auto", "reference": "db"}, "in no known layout"),
        ({"layout": "oxford"}, r"has no \*_query.txt"),
        ({"layout": "revisited"}, r"must hold one gnd_\*.pkl .* it has none"),
    ],
)
def test_wrong_folders_are_named(make_folder: Make, settings: dict[str, Any], why: str) -> None:
    root = make_folder(["reference/1.png", "a/1.png"])
    with pytest.raises((ValueError, FileNotFoundError), match=why):
        load(root, **{"layout": "auto", **settings})


def test_a_set_without_pairs_is_refused(make_folder: Make) -> None:
    with pytest.raises(ValueError, match=r"no query for the 1 images .* 1 images have no namesake"):
        load(make_folder(["reference/1.png", "a/2.png"]))
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load(Path("/no/such/place"))


OXFORD = ["jpg/hall_000001.png", "jpg/hall_000002.png", "jpg/sub/hall_000003.png", "jpg/gate_000001.png"]


def oxford(root: Path, *, good: str = "hall_000002", ok: str = "hall_000003", junk: str = "gate_000001") -> Path:
    folder = root / "gt"
    folder.mkdir()
    (folder / "old_hall_1_query.txt").write_text("oxc1_hall_000001 1.5 2 8.25 9.0\n")
    for part, content in (("good", good), ("ok", ok), ("junk", junk)):
        (folder / f"old_hall_1_{part}.txt").write_text(content + "\n")
    return root


def test_oxford_s_files_are_read(make_folder: Make) -> None:
    found = load(oxford(make_folder(OXFORD)))
    (query,) = found.queries
    assert (found.layout, len(found.database)) == ("oxford", 4)
    assert (query.name, query.path.stem, query.group) == ("old_hall_1", "hall_000001", "old_hall")
    assert query.box == (1.5, 2.0, 8.25, 9.0)
    assert names(found, query.truths[""].positives) == {"hall_000002", "hall_000003"}
    assert names(found, query.truths[""].ignored) == {"gate_000001"}


def test_the_corrupt_images_of_paris_are_left_out(make_folder: Make) -> None:
    assert len(CORRUPT) == 20
    root = make_folder([*OXFORD, "jpg/paris_louvre_000136.png"])
    found = load(oxford(root, good="hall_000002 paris_louvre_000136"))
    assert len(found.database) == 4 and "1 corrupt images of Paris6k" in found.notes[0]
    assert names(found, found.queries[0].truths[""].positives) == {"hall_000002", "hall_000003"}


def test_oxford_s_faults_are_named(make_folder: Make) -> None:
    root = oxford(make_folder(OXFORD), ok="hall_000009")
    with pytest.raises(ValueError, match=r"_ok.txt names 1 images that are not in jpg/, first hall_000009"):
        load(root)
    (root / "gt" / "old_hall_1_ok.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"old_hall_1_ok.txt is missing"):
        load(root)
    (root / "gt" / "old_hall_1_query.txt").write_text("oxc1_hall_000001 8 2 1 9")
    with pytest.raises(ValueError, match="must hold an image's name and x1 y1 x2 y2"):
        load(root)


def gnd(**changes: Any) -> dict[str, Any]:
    record = {"bbx": [1.0, 2.0, 8.0, 9.0], "easy": np.array([0]), "hard": np.array([1, 2]), "junk": np.array([], int)}
    return {"imlist": ["i0", "i1", "i2"], "qimlist": ["q0"], "gnd": [{**record, **changes}]}


REVISITED = ["jpg/i0.png", "jpg/i1.png", "jpg/i2.png", "jpg/q0.png"]


@pytest.mark.parametrize("form", ["pkl", "json"])
def test_the_revisited_protocol_sorts_easy_hard_and_junk(make_folder: Make, form: str) -> None:
    root = make_folder(REVISITED)
    if form == "pkl":
        (root / "gnd_roxford5k.pkl").write_bytes(pickle.dumps(gnd(), protocol=2))
    else:
        plain = gnd(easy=[0], hard=[1, 2], junk=[])
        (root / "gnd_roxford5k.json").write_text(json.dumps(plain))
    found = load(root)
    (query,) = found.queries
    assert (found.layout, len(found.database), query.box) == ("revisited", 3, (1.0, 2.0, 8.0, 9.0))
    assert query.truths == {
        "easy": Truth(positives=frozenset({0}), ignored=frozenset({1, 2})),
        "medium": Truth(positives=frozenset({0, 1, 2})),
        "hard": Truth(positives=frozenset({1, 2}), ignored=frozenset({0})),
    }


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (gnd(easy=np.array([3])), "easy must hold indices from 0 to 2"),
        ({"imlist": []}, "no 'qimlist'"),
        ([1, 2], "not a ground truth of the revisited protocol"),
        ({**gnd(), "imlist": ["i0", "i1", "i7"]}, "lacks 1 of the 4 images .* first i7"),
    ],
)
def test_a_wrong_ground_truth_is_refused(make_folder: Make, content: Any, why: str) -> None:
    root = make_folder(REVISITED)
    (root / "gnd_x.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises((ValueError, FileNotFoundError), match=why):
        load(root)


class Runs:
    """Unpickling it calls a function."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("ran"),))


def test_a_pickle_with_code_is_refused_and_does_not_run(
    make_folder: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = make_folder(REVISITED)
    (root / "gnd_x.pkl").write_bytes(pickle.dumps({**gnd(), "more": Runs()}))
    with pytest.raises(ValueError, match="asks for"):
        load(root)
    assert not Path("ran").exists()
    for evil in (b"cos\nsystem\n(S'touch ran'\ntR.", b"cbuiltins\neval\n(S'1'\ntR.", b"", b"\x80\x02garbage"):
        with pytest.raises(ValueError, match="not a pickle of plain containers"):
            plain_pickle.loads(evil)
    assert not Path("ran").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickles_of_every_protocol_come_back(protocol: int) -> None:
    content = {"a": np.arange(3), "b": [np.float64(0.5), np.int64(7), "é", b"\xff", None, (True, {1})], "c": 1.5}
    back = plain_pickle.loads(pickle.dumps(content, protocol=protocol))
    assert back["a"].tolist() == [0, 1, 2] and back["b"] == content["b"] and back["c"] == 1.5


def test_pickles_of_python_2_and_of_numpy_1_and_2_are_read() -> None:
    python_2 = b"(dp0\nS'x'\np1\n(lp2\nS'caf\\xe9'\np3\nas."
    assert plain_pickle.loads(python_2) == {"x": ["café"]}
    for core in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
        data = pickle.dumps(np.arange(2), protocol=0)
        other = data.replace(b"numpy._core.multiarray", core).replace(b"numpy.core.multiarray", core)
        assert plain_pickle.loads(other).tolist() == [0, 1]


def test_images_left_out_are_nobody_s_positives(make_folder: Make) -> None:
    root = make_folder(REVISITED)
    (root / "gnd_x.pkl").write_bytes(pickle.dumps(gnd()))
    found = load(root).without({1})
    assert [p.stem for p in found.database] == ["i0", "i2"]
    assert names(found, found.queries[0].truths["medium"].positives) == {"i0", "i2"}
    assert names(found, found.queries[0].truths["easy"].ignored) == {"i2"}


def test_the_larger_side_is_brought_to_size_and_the_region_cut_from_the_resized_image(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    picture(0, 40, 80).save(file)
    whole = read_resized(file, 3, 40, None)
    assert whole.shape == (3, 20, 40) and read_resized(file, 1, 160, None).shape == (1, 80, 160)
    cut = read_resized(file, 3, 40, (10.0, 20.0, 51.0, 40.0))
    assert torch.equal(cut, whole[:, 10:20, 5:26])  # 51 / 2 = 25.5 rounds to the even 26
    assert torch.equal(read_resized(file, 3, 40, (-9.0, -5.0, 900.0, 400.0)), whole)
    with pytest.raises(ValueError, match="nothing is left of the query's region"):
        read_resized(file, 3, 40, (90.0, 0.0, 99.0, 9.0))
    Image.fromarray(np.full((8, 8), 4095, np.uint16)).save(tmp_path / "c.png")
    assert read_resized(tmp_path / "c.png", 1, 8, None, 4095).unique().tolist() == [255]
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8no")
    with pytest.raises(BrokenImage):
        read_resized(tmp_path / "b.jpg", 3, 40, None)
