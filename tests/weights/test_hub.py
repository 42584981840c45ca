"""Bundles go to Hugging Face's hub and come from it, by a stand-in for its library: no network."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.bundles import bundle, paint

from deepcluster.app.push_command import places_of, push_from_command_line
from deepcluster.weights import hub


class StandIn:
    """Keeps what is uploaded, and gives it back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[tuple[Any, ...]] = []

    def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> None:
        self.calls.append(("create", name, private, exist_ok))

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> str:
        self.calls.append(("upload", repo_id, sorted(file.name for file in Path(folder_path).iterdir())))
        return f"https://hub/{repo_id}"

    def snapshot_download(self, name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        self.calls.append(("download", name, revision, allow_patterns))
        if name == "nobody/nothing":
            raise OSError("404 Client Error\nmore")
        return str(self.folder)


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    one = StandIn(tmp_path / "bundle")
    module = SimpleNamespace(HfApi=lambda: one, snapshot_download=one.snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)  # type: ignore[arg-type]
    return one


def test_a_bundle_is_pushed_whole(library: StandIn, tmp_path: Path) -> None:
    whole = bundle(tmp_path, paint(tmp_path / "pictures"))
    assert hub.push(whole, "me/dogs") == "https://hub/me/dogs"
    files = ["README.md", "backbone.json", "backbone.safetensors", "clusters.safetensors"]
    assert library.calls == [("create", "me/dogs", True, True), ("upload", "me/dogs", files)]


def test_what_cannot_be_pushed_is_refused_before_anything_is_made(library: StandIn, tmp_path: Path) -> None:
    whole = bundle(tmp_path, paint(tmp_path / "pictures"))
    with pytest.raises(ValueError, match="tells no licence"):
        hub.push(whole, "me/dogs", private=False)
    with pytest.raises(ValueError, match="OWNER/NAME"):
        hub.push(whole, "dogs")
    with pytest.raises(FileNotFoundError, match=r"is no bundle: backbone\.safetensors is missing"):
        hub.push(tmp_path / "pictures", "me/dogs")
    assert not library.calls
    card = whole / "README.md"
    card.write_text(card.read_text().replace("license: unknown", "license: mit"))
    assert hub.push(whole, "me/dogs", private=False) == "https://hub/me/dogs"


def test_a_folder_comes_before_the_hub(library: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "me" / "dogs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub.local_folder("me/dogs") == Path("me/dogs") and not library.calls
    assert hub.local_folder("me/cats", "v1") == library.folder
    assert library.calls[0][:3] == ("download", "me/cats", "v1") and "model.onnx" not in library.calls[0][3]
    with pytest.raises(ValueError, match=r"the hub does not give it: 404 Client Error$"):
        hub.local_folder("nobody/nothing")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        hub.local_folder("some/where/deep")


def test_the_missing_library_is_told_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"huggingface_hub is needed: pip install -e '\.\[hub\]'"):
        hub.local_folder("me/dogs")


def test_the_word_push_uploads_and_prints_the_address(
    library: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = bundle(tmp_path, paint(tmp_path / "pictures"))
    push_from_command_line([str(whole), "me/dogs"])
    assert capsys.readouterr().out == "pushed     https://hub/me/dogs\n" and library.calls[0] == (
        *("create", "me/dogs", True, True),
    )
    assert places_of(["b", "me/dogs", "private=false"]) == ("b", "me/dogs", False)
    odd = whole.rename(tmp_path / "k=5")
    assert places_of([str(odd), "me/dogs"]) == (str(odd), "me/dogs", True)
    for words in (["b"], ["b", "me/dogs", "more"], ["b", "me/dogs", "privat=no"]):
        with pytest.raises(ValueError, match="deepcluster push BUNDLE OWNER/NAME"):
            places_of(words)
