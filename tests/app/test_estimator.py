"""`from deepcluster import DeepCluster`: scikit-learn's habits over the same runs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference.pictures import encoded, picture
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from support.bundles import bundle, paint
from support.configs import REPOSITORY

from deepcluster import DeepCluster

SMALL = (
    *("arch=lenet5", "view.size=32", "trainer.max_epochs=1", "evaluation.enabled=false", "page=false"),
    "reading.cache_dir=none",
)


def write_pictures(folder: Path, n: int = 24) -> list[Path]:
    folder.mkdir(parents=True)
    files = [folder / f"{i:02}.png" for i in range(n)]
    for i, file in enumerate(files):
        file.write_bytes(encoded(picture(i % 12, 40, 40).convert("RGB"), "PNG"))  # each twice
    return files


def test_importing_the_package_loads_nothing() -> None:
    told = "import sys, deepcluster; print({'torch', 'hydra', 'sklearn', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_parameters_are_read_set_and_cloned() -> None:
    model = DeepCluster(k=5, minutes=2, settings=["arch=lenet"])
    copy = clone(model).set_params(k=7)
    assert copy.get_params() == {**model.get_params(), "k": 7}
    assert model.k == 5
    with pytest.raises(NotFittedError, match="not fitted"):
        model.predict("photos")


def test_what_are_no_paths_is_refused(tmp_path: Path) -> None:
    for images, error, said in (
        (np.zeros((3, 8, 8)), TypeError, "not their pixels"),
        ([tmp_path / "none.jpg"], FileNotFoundError, "none.jpg is no file"),
        ([], ValueError, "names no images"),
        (tmp_path / "none", FileNotFoundError, "does not exist"),
    ):
        with pytest.raises(error, match=said):
            DeepCluster(output_dir=tmp_path / "run", verbose=False).fit(images)


def test_a_refused_fit_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = write_pictures(tmp_path / "photos", 4)
    model = DeepCluster(settings=["clusterin.k=3"], verbose=False)
    for images in (tmp_path / "none", tmp_path / "photos", files):
        with pytest.raises(Exception, match=r"does not exist|clusterin"):
            model.fit(images)
        assert not list((tmp_path / "runs").iterdir())
    assert all(file.is_file() for file in files)


def test_a_fit_after_a_refused_one_sees_its_own_list_and_a_run_is_not_written_over(tmp_path: Path) -> None:
    files, run = write_pictures(tmp_path / "photos", 4), tmp_path / "run"
    model = DeepCluster(settings=["clusterin.k=3"], output_dir=run, verbose=False)
    for paths in (files, files[:2]):
        with pytest.raises(Exception, match="clusterin"):
            model.fit(paths)
        assert sorted(link.readlink() for link in (run / "images").iterdir()) == paths
    (run / "config.yaml").touch()
    with pytest.raises(ValueError, match="already holds a run"):
        model.fit(files)
    assert len(list((run / "images").iterdir())) == 2


def test_a_bundle_predicts_and_transforms_and_can_be_saved_again(tmp_path: Path) -> None:
    found = bundle(tmp_path, paint(tmp_path / "learned"))
    (found / "names.csv").write_text("cluster,name\n2,dogs\n")
    model = DeepCluster.from_pretrained(found)
    files = sorted((tmp_path / "learned").glob("*.png"))
    labels = model.predict(files)
    assert labels.dtype == np.int64 and model.names_ == {"2": "dogs"} and not hasattr(model, "labels_")
    assert list(labels) == [model.predict([file])[0] for file in files]
    assert model.transform(files).shape == (len(files), 84) and model.transform(files).dtype == np.float32
    assert model.get_params() == clone(model).get_params() == DeepCluster().get_params()
    with pytest.raises(NotFittedError):
        clone(model).predict(files)
    model.save_pretrained(tmp_path / "copy")
    assert list(DeepCluster.from_pretrained(tmp_path / "copy").predict(files)) == list(labels)
    with pytest.raises(ValueError, match="holds other files"):
        model.save_pretrained(tmp_path / "learned")


def test_what_is_no_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        DeepCluster.from_pretrained(tmp_path / "none")
    with pytest.raises(ImportError, match="huggingface_hub is needed"):
        DeepCluster.from_pretrained("me/dogs")
    found = bundle(tmp_path, paint(tmp_path / "learned"))
    (found / "clusters.safetensors").unlink()
    with pytest.raises(ValueError, match="holds no clusters"):
        DeepCluster.from_pretrained(found)


@pytest.mark.slow
def test_a_list_of_paths_is_clustered_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    files = write_pictures(tmp_path / "photos")
    shuffled = [files[i] for i in np.random.default_rng(0).permutation(len(files))]
    model = DeepCluster(k=4, minutes=1, settings=SMALL, verbose=False)
    labels = model.fit_predict(shuffled)
    assert capsys.readouterr() == ("", "")
    assert labels.shape == (24,) and set(labels) == {0, 1, 2, 3} and labels.dtype == np.int64
    assert model.paths_ == [str(file) for file in shuffled] and model.summary_["k"] == 4
    of_path = dict(zip(model.paths_, labels, strict=True))
    assert all(of_path[str(files[i])] == of_path[str(files[i + 12])] for i in range(12))  # the same picture
    assert (
        [of_path[str(file)] for file in files] == list(model.predict(files)) == list(model.predict(tmp_path / "photos"))
    )
    features = model.transform(files[:3])
    assert features.dtype == np.float32 and features.shape == (3, 84)
    embeddings = np.load(model.run_ / "embeddings.npy")
    np.testing.assert_allclose(features[2], embeddings[shuffled.index(files[2])], rtol=1e-3, atol=1e-3)
    model.save_pretrained(tmp_path / "bundle")
    again = DeepCluster.from_pretrained(tmp_path / "bundle")
    assert list(again.predict(files)) == list(model.predict(files))
    assert "k-NN accuracy" not in (tmp_path / "bundle" / "README.md").read_text()  # evaluation.enabled=false
    again = DeepCluster.from_run(model.run_)
    assert list(again.labels_) == list(labels) and list(again.predict(files)) == list(model.predict(files))


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = json.loads((REPOSITORY / "docs" / "notebook.ipynb").read_text())["cells"]
    assert len(cells) == 8
    write_pictures(tmp_path / "photos")
    write_pictures(tmp_path / "new", 3)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"display": lambda shown: None}
    for cell in cells:
        if cell["cell_type"] == "code":
            code = "".join(cell["source"])
            exec(code.replace("minutes=10", f"minutes=1, settings={SMALL}"), names)
    assert set(names["labels"]) <= set(range(7))
