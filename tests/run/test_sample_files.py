"""A run on a folder of image files writes what is known of single images; evaluation=files and embed do it later."""

import csv
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.textures import textures
from support.typed import Typist

RUN = ["data=folder", "data.root=pictures", "view.size=16", "arch=lenet5", "clustering.k=4", "reduction.dim=8"]
SHORT = ["trainer.max_epochs=1", "reading.batch_size=8", "reading.num_workers=0", "evaluation.enabled=false"]


@pytest.fixture
def typist(tmp_path: Path) -> Typist:
    return Typist(tmp_path)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_on_files_writes_places_copies_and_embeddings(typist: Typist) -> None:
    folder = typist.folder / "pictures"
    for split, n in (("train", 40), ("test", 6)):
        (folder / split).mkdir(parents=True)
        for i, grey in enumerate(textures(n, seed=n, side=80)):
            Image.fromarray(grey.byte().numpy()).save(folder / split / f"{i:02}.png")
    (folder / "train" / "exact.png").write_bytes((folder / "train" / "00.png").read_bytes())
    Image.open(folder / "train" / "01.png").resize((40, 40)).save(folder / "test" / "small.png")
    finished = typist.train(*RUN, *SHORT, "output_dir=run")
    assert finished.status == 0, finished.err
    run = typist.folder / "run"
    clusters = read(run / "clusters.csv")
    assert [*clusters[0]] == ["sample", "cluster", "distance", "margin", "rank", "duplicate_group", "odd_score"]
    for cluster in "0123":
        ranked = sorted((row for row in clusters if row["cluster"] == cluster), key=lambda row: int(row["rank"]))
        assert [int(row["rank"]) for row in ranked] == list(range(1, len(ranked) + 1))
        assert [float(row["distance"]) for row in ranked] == sorted(float(row["distance"]) for row in ranked)
    copies = [(row["group"], row["sample"], row["kind"], row["keep"]) for row in read(run / "duplicates.csv")]
    assert sorted(copies) == [
        ("0", "train/00.png", "exact", "true"),
        ("0", "train/exact.png", "exact", "false"),
        ("1", "test/small.png", "near", "false"),
        ("1", "train/01.png", "near", "true"),
    ]
    groups = {row["sample"]: row["duplicate_group"] for row in clusters if row["duplicate_group"]}
    assert groups == {"train/00.png": "0", "train/exact.png": "0", "train/01.png": "1"}
    odd = [(row["sample"], row["score"]) for row in read(run / "odd.csv")]
    assert sorted(odd) == sorted((row["sample"], row["odd_score"]) for row in clusters)
    assert odd == sorted(odd, key=lambda row: -float(row[1]))
    embeddings = np.load(run / "embeddings.npy")
    assert embeddings.shape == (41, 84) and [row["sample"] for row in read(run / "embeddings.csv")] == [
        row["sample"] for row in clusters
    ]
    assert "1 of them with training and test images" in finished.out

    again = typist.eval("ckpt=run", "evaluation=files", "output_dir=again")
    assert again.status == 0, again.err
    for name in ("clusters.csv", "duplicates.csv", "odd.csv", "embeddings.csv"):
        assert (typist.folder / "again" / name).read_bytes() == (run / name).read_bytes()
    for names, said in (("cluster,name\n9,cats\n", "names cluster '9'"), ("cluster,name\n0,cats\n1\n", "/cats/")):
        (run / "names.csv").write_text(names)
        told = typist.eval("ckpt=run", "evaluation=sort", "evaluation.out=sorted")
        assert said in told.out + told.err and "Traceback" not in told.err
    (run / "names.csv").unlink()
    refused = typist.eval("ckpt=run", "evaluation=sort", "evaluation.out=pictures/sorted", "evaluation.do=true")
    assert "a link would be read as one more picture; name a folder elsewhere" in refused.err
    before = {path.name for path in (typist.folder / "runs").glob("*")}
    told = typist.eval("ckpt=run", "evaluation=sort", "evaluation.out=sorted")
    assert told.status == 0 and "would link  41 pictures" in told.out and not (typist.folder / "sorted").exists()
    assert {path.name for path in (typist.folder / "runs").glob("*")} == before, "what only tells leaves no folder"
    assert "data.root=" not in told.out
    folder.rename(moved := typist.folder / "my moved ones")
    told = typist.eval("ckpt=run", "evaluation=sort", "evaluation.out=sorted", 'data.root="my moved ones"')
    (line,) = (line for line in told.out.splitlines() if "to do it: " in line)
    program, script, *words = shlex.split(line.partition("to do it: ")[2])
    assert program == "python" and script.endswith("eval.py")
    done = typist.eval(*words)
    assert done.status == 0 and "sorted     41 pictures" in done.out, done.err
    moved.rename(folder)
    assert typist.eval("ckpt=run", "evaluation=embed", "evaluation.split=test", "output_dir=test").status == 0
    assert np.load(typist.folder / "test" / "embeddings.npy").shape == (7, 84)


@pytest.mark.parametrize(
    "settings", [["files.write=never"], ["files.duplicates=false", "files.odd=false", "files.embeddings_mb=0"]]
)
def test_they_can_be_switched_off(typist: Typist, settings: list[str]) -> None:
    (typist.folder / "pictures").mkdir()
    for i, grey in enumerate(textures(12, side=20)):
        Image.fromarray(grey.byte().numpy()).save(typist.folder / "pictures" / f"{i:02}.png")
    assert typist.train(*RUN, *SHORT, *settings, "output_dir=run").status == 0
    written = {path.name for path in (typist.folder / "run").iterdir()}
    assert not written & {"duplicates.csv", "odd.csv", "embeddings.npy", "embeddings.csv"}
    assert ("rank" in read(typist.folder / "run" / "clusters.csv")[0]) == (settings != ["files.write=never"])
