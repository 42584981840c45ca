"""`deepcluster predict`: the clusters that evaluation=assign gives, of a folder, of paths, from standard input."""

import csv
import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from support.bundles import bundle, paint
from support.configs import CONFIGS

from deepcluster.app.hydra_setup import register
from deepcluster.app.predict_command import Request, paths_in, request_of, table, write_table
from deepcluster.app.program import HELP
from deepcluster.run.evaluate import evaluate
from deepcluster.settings.eval import eval_config

NOTHING = b""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return bundle(tmp_path, paint(tmp_path / "learned"), stored_size=24)


def asked(*words: str, given: bytes = NOTHING) -> Request:
    return request_of(list(words), lambda: given)


def rows_of(request: Request) -> list[dict[str, str]]:
    columns, rows = table(request)
    return [dict(zip(columns, map(str, row), strict=True)) for row in rows]


def test_it_gives_what_evaluation_assign_gives(model: Path, tmp_path: Path) -> None:
    new = paint(tmp_path / "new", first=100)
    words = [f"ckpt={model}", "evaluation=assign", "data=folder", f"data.root={new}", "reading.cache_dir=none"]
    register()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        evaluate(eval_config(compose("eval", words), words), tmp_path / "assigned")
    with (tmp_path / "assigned" / "clusters.csv").open() as file:
        expected = {row["sample"]: row["cluster"] for row in csv.DictReader(file)}
    found = rows_of(asked(str(model), str(new)))
    assert {row["sample"]: row["cluster"] for row in found} == expected and len(set(expected.values())) > 1
    assert [*found[0]] == ["sample", "cluster", "distance"] and all(float(row["distance"]) > 0 for row in found)


def test_a_folder_a_list_and_standard_input_agree(model: Path, tmp_path: Path) -> None:
    new = paint(tmp_path / "new", 6, first=100)
    files = sorted(new.rglob("*.png"))
    of_folder = {str(new / row["sample"]): row["cluster"] for row in rows_of(asked(str(model), str(new)))}
    lines = "".join(f"{file}\n" for file in files).encode()
    for request in (
        asked(str(model), *map(str, files)),
        asked(str(model), "-", given=lines),
        asked(str(model), "-", given=lines.replace(b"\n", b"\0")),
        asked(str(model), str(new / "more"), *(str(file) for file in new.glob("*.png"))),
    ):
        assert {row["sample"]: row["cluster"] for row in rows_of(request)} == of_folder
    alone = rows_of(asked(str(model), str(files[3])))
    assert [(row["sample"], row["cluster"]) for row in alone] == [(str(files[3]), of_folder[str(files[3])])]


def test_clusters_have_the_names_of_names_csv(model: Path, tmp_path: Path) -> None:
    (model / "names.csv").write_text('cluster,name\n0,a\n1,"b, and c"\n2,d\n3,e\n')
    found = rows_of(asked(str(model), str(tmp_path / "learned")))
    names = {"0": "a", "1": "b, and c", "2": "d", "3": "e", "4": ""}
    assert all(row["name"] == names[row["cluster"]] for row in found) and {"4", "1"} <= {
        row["cluster"] for row in found
    }


def test_it_writes_a_file_or_standard_output(model: Path, tmp_path: Path) -> None:
    new = paint(tmp_path / "new", 4)
    write_table(asked(str(model), str(new), f"out={tmp_path / 'p.csv'}"))
    command = [sys.executable, "-c", "from deepcluster.app.program import main; main()", "predict", str(model), "-"]
    given = "\n".join(str(new / name) for name in ("00.png", "more/01.png"))
    done = subprocess.run(command, input=given, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    printed = list(csv.reader(io.StringIO(done.stdout)))
    written = list(csv.reader((tmp_path / "p.csv").open()))
    assert printed[0] == written[0] == ["sample", "cluster", "distance"] and len(written) == 5 and len(printed) == 3
    assert printed[1] == [str(new / "00.png"), *next(row[1:] for row in written if row[0] == "00.png")]


def test_bad_words_are_refused_in_a_sentence(tmp_path: Path) -> None:
    for words, given, said in (
        ([], NOTHING, "MODEL and PICTURES are missing"),
        (["model"], NOTHING, "PICTURES are missing"),
        (["model", "--top", "dir"], NOTHING, "no such flag"),
        (["model", "-", "more"], NOTHING, "either it or paths"),
        (["model", "-"], b"\n \n", "there were none"),
        (["model", "dir", "out="], NOTHING, "out is empty"),
        (["model", "dir", f"out={tmp_path}"], NOTHING, "is a folder; name a file, as in out=.*clusters.csv"),
        (["model", "dir", "outt=p.csv"], NOTHING, "no key outt; did you mean out"),
        (["model", "dir", "on_broken=skip"], NOTHING, "did you mean reading.on_broken"),
        (["model", "dir", "reading.on_broken=no"], NOTHING, "one of error, skip"),
    ):
        with pytest.raises(ValueError, match=said):
            asked(*words, given=given)
    assert paths_in(b"a b.jpg\nc.jpg") == ["a b.jpg", "c.jpg"] and paths_in(b"a\nb.jpg\0") == ["a\nb.jpg"]
    assert "deepcluster predict MODEL PICTURES" in HELP


def test_bad_pictures_and_models_are_refused_in_a_sentence(model: Path, tmp_path: Path) -> None:
    new = paint(tmp_path / "new", 3)
    (new / "notes.txt").write_text("no picture")
    (tmp_path / "empty").mkdir()
    for paths, error, said in (
        ([tmp_path / "none.jpg"], FileNotFoundError, "none.jpg does not exist"),
        ([tmp_path / "empty"], FileNotFoundError, "no images under"),
        ([new / "notes.txt"], ValueError, r"1 of 1 images of .*notes.txt cannot be decoded; none can"),
        ([new / "00.png", new / "notes.txt"], ValueError, r"(?s)1 of 2 images of 2 paths .*reading.on_broken=skip"),
    ):
        with pytest.raises(error, match=said):
            rows_of(asked(str(model), *map(str, paths)))
    with pytest.raises(ValueError, match=f"no run; did you mean deepcluster predict {model} {new}"):
        rows_of(asked(str(new), str(model)))
    kept = rows_of(asked(str(model), str(new / "notes.txt"), str(new / "00.png"), "reading.on_broken=skip"))
    assert [row["sample"] for row in kept] == [str(new / "00.png")]
    (model / "clusters.safetensors").unlink()
    with pytest.raises(ValueError, match="holds no clusters"):
        rows_of(asked(str(model), str(new)))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        rows_of(asked(str(tmp_path / "nowhere"), str(new)))


def test_pictures_of_other_channels_become_the_networks_and_arrays_are_refused(model: Path, tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    Image.new("L", (20, 20), 77).save(tmp_path / "grey.png")
    Image.new("RGB", (20, 20), (77, 77, 77)).save(tmp_path / "colour.png")
    grey, colour = rows_of(asked(str(model), str(tmp_path / "grey.png"), str(tmp_path / "colour.png")))
    assert grey["distance"] == colour["distance"]
    np.save(tmp_path / "five.npy", np.zeros((8, 8, 5), np.uint8))
    with pytest.raises(ValueError, match=r"(?s)five\.npy.* 5 channels"):
        rows_of(asked(str(model), str(tmp_path / "five.npy")))


def test_a_changed_description_is_refused(model: Path, tmp_path: Path) -> None:
    described = model / "backbone.json"
    text = described.read_text()
    for change, said in (('"stored_side"', "was changed"), ('"stored_size": 1, "x"', "stored_size|was changed")):
        described.write_text(text.replace('"stored_size"', change))
        with pytest.raises(ValueError, match=said):
            rows_of(asked(str(model), str(tmp_path / "learned")))
    described.write_text(text[:-30])
    with pytest.raises(ValueError, match="not JSON"):
        rows_of(asked(str(model), str(tmp_path / "learned")))


def test_a_copied_bundle_needs_nothing_beside_it(model: Path, tmp_path: Path) -> None:
    before = rows_of(asked(str(model), str(tmp_path / "learned")))
    shutil.copytree(model, tmp_path / "elsewhere" / "copy")
    shutil.rmtree(model)
    assert rows_of(asked(str(tmp_path / "elsewhere" / "copy"), str(tmp_path / "learned"))) == before
