"""`deepcluster DIR`: what it chooses, tells, and lets be overruled."""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from reference.pictures import encoded, picture
from support.bundles import bundle, paint
from support.onnx_files import write_onnx
from support.tiny_sets import write_photographs
from support.typed import Typist

from deepcluster.app import folder_command, program, start_word
from deepcluster.app.folder_command import Candidate, check_own_keys, composed, minutes_of, settings_for
from deepcluster.app.hydra_setup import register
from deepcluster.data.images import FileImages, ImageSet, MemoryImages
from deepcluster.run.dial import Budget, Look
from deepcluster.run.parts import build_parts
from deepcluster.run.sizes import Plan
from deepcluster.run.starts import ADAPTING, named_start
from deepcluster.settings.train import TrainConfig
from deepcluster.weights import onnx_start
from deepcluster.weights.start import WeightsInit


def write_tree(folder: Path, n: int, side: int = 80) -> Path:
    """Pictures at several depths, so that there are no classes."""
    for i in range(n):
        file = folder / ("a/b" if i % 2 else "c") / f"{i:03}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(picture(i, side, side + 20).convert("RGB"), "JPEG"))
    return folder


@pytest.fixture
def fit(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Network -> epochs that fit, in place of measurements; 50 for others."""
    epochs: dict[str, int] = {}

    def timed(words: list[str], config: TrainConfig, seen: Look, budget: Budget, wanted: int, known: Any) -> Candidate:
        arch = next((word.removeprefix("arch=") for word in words if word.startswith("arch=")), "")
        n = epochs.get(arch, 50)
        nothing: Any = None
        costs: Any = type("Costs", (), {"step_s": 0.064})
        assert config == composed(words), "composed once"
        return Candidate(words=words, config=config, plan=nothing, costs=costs, epochs=n, is_enough=n >= wanted)

    monkeypatch.setattr(folder_command, "timed", timed)
    monkeypatch.setattr(start_word, "local_starts", list)
    monkeypatch.setattr(folder_command, "seconds", lambda plan, costs, seen, n: 6.0 * n)
    monkeypatch.setattr(Budget, "spent_s", 20.0)
    register()
    yield epochs


def test_what_is_chosen_is_told_with_its_reason_and_the_key_that_overrules_it(
    fit: dict[str, int], tmp_path: Path
) -> None:
    fit["vgg_photographs"] = 9
    lines: list[str] = []
    words = settings_for(str(write_tree(tmp_path / "photos", 30)), ["minutes=8"], lines.append)
    recipe = composed(["experiment=photographs", "data.root=photos"])
    fade = round(recipe.other_rows.fade_epochs * 50 / recipe.trainer["max_epochs"])  # type: ignore[attr-defined]
    assert words == [
        "experiment=photographs",
        f"data.root={tmp_path / 'photos'}",
        "arch=vgg_small",
        "view.size=80",
        "reduction.dim=15",
        "other_rows.dim=15",
        "other_rows.n_neighbours=7",
        "clustering.k=7",
        "trainer.max_epochs=50",
        f"other_rows.fade_epochs={fade}",
    ]
    assert lines[0].startswith("images     30 to learn from, no to test, 100x80 px")
    assert lines[1:] == [
        "start      no trained weights: none lie on this machine; start=NAME_OR_FILE takes some",
        "network    SmallVGG at 80 px: the largest that can see each image 10 times in 8 min; arch=, view.size=",
        "clusters   7: about 1.2 times the root of the number of images; clustering.k=",
        "epochs     50: what 8 min hold at 2.1 ms an image on this machine; trainer.max_epochs=, minutes=",
        "time       about 5.5 min in all",
    ]


def test_the_largest_network_that_is_fast_enough_is_taken_else_the_fastest(fit: dict[str, int], tmp_path: Path) -> None:
    folder, nothing = str(write_photographs(tmp_path / "photos")), [].append
    assert "arch=vgg_small" in settings_for(folder, [], nothing)  # of 48 px
    folder = str(write_tree(tmp_path / "larger", 4, side=140))
    assert {"arch=vgg_photographs", "view.size=160"} < set(settings_for(folder, [], nothing))
    fit.update(vgg_photographs=2, vgg_small=1)  # at 80 px it computes more than the other at 120
    assert {"arch=vgg_photographs", "view.size=120", "trainer.max_epochs=2"} < set(settings_for(folder, [], nothing))
    fit.update(vgg_photographs=0, vgg_small=0)
    assert {"arch=vgg_small", "trainer.max_epochs=1"} < set(settings_for(folder, [], nothing))
    fit["vgg_photographs"], lines = 2, list[str]()
    settings_for(folder, ["trainer.max_epochs=1"], lines.append)
    assert "the largest that can see each image once in 10 min" in lines[2]


@pytest.mark.parametrize(
    ("side", "typed", "kind"),
    [
        (80, [], MemoryImages),
        (80, ["reading.memory_gb=0.0001", "reading.batch_size=4"], FileImages),
        (400, [], MemoryImages),
    ],
)
def test_pictures_are_timed_as_the_run_reads_them(
    side: int, typed: list[str], kind: type[ImageSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small ones of one size are kept as they are; a few would fit into a memory that all do not; large: squares."""

    def measure(plan: Plan, *, limit_s: float, known: Any) -> Any:
        assert isinstance(plan.clusterer.images, kind) and plan.clusterer.extraction.batch_size == 64
        assert len(plan.clusterer.images) == min(12, plan.batch_size)  # a whole step
        raise ValueError("as the run reads them")

    monkeypatch.setattr(folder_command, "measure", measure)
    monkeypatch.setattr(folder_command, "N_SAMPLE", 4)
    monkeypatch.setattr(start_word, "local_starts", list)
    register()
    with pytest.raises(ValueError, match="as the run reads them"):
        settings_for(str(write_tree(tmp_path / "photos", 12, side=side)), typed, [].append)


def test_more_clusters_than_pictures_are_refused_before_anything_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_command, "timed", lambda *_: pytest.fail("nothing is timed"))
    with pytest.raises(ValueError, match=r"clustering.k=50 needs at least that many images, there are 12; lower"):
        settings_for(str(write_tree(tmp_path / "photos", 12)), ["clustering.k=50"], lambda line: None)


def test_a_folder_that_holds_a_run_is_refused_before_anything_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_command, "look", lambda *_: pytest.fail("images are looked at"))
    (tmp_path / "config.yaml").write_text("")
    register()
    with pytest.raises(ValueError, match="already holds a run; continue it with resume="):
        settings_for(str(write_tree(tmp_path / "photos", 12)), [f"output_dir={tmp_path}"], [].append)


def test_one_picture_is_refused_in_a_sentence(fit: dict[str, int], tmp_path: Path) -> None:
    for typed in ([], ["clustering.k=2"]):
        with pytest.raises(ValueError, match=r"data.root=.*photos holds one image to learn from; clusters are made of"):
            settings_for(str(write_tree(tmp_path / "photos", 1)), typed, lambda line: None)


@pytest.mark.parametrize("typed", [[], ["view.train_size=120"], ["view.size=200", "view.train_size=null"]])
def test_images_are_kept_large_enough_for_the_crops_that_are_typed(
    typed: list[str], fit: dict[str, int], tmp_path: Path
) -> None:
    fit["vgg_photographs"] = 2  # so that a smaller one is taken than the recipe's
    view = composed(words := settings_for(str(write_tree(tmp_path / "photos", 4, side=400)), typed, [].append)).view
    (kept,) = (word for word in words if word.startswith("reading.stored_size="))
    assert kept == f"reading.stored_size={round(max(1.2 * view.size, 1.5 * view.crop_size))}"


@pytest.mark.parametrize(
    ("arch", "size"), [("vgg_small", 40), ("alexnet_small", 40), ("alexnet", 80), ("vgg_small view.size=96", 96)]
)
def test_a_network_that_is_typed_does_not_enlarge_small_pictures_much_either(
    arch: str, size: int, fit: dict[str, int], tmp_path: Path
) -> None:
    """Of icons of 32 px: 40, or the smallest size that the network takes, unless one is typed; AlexNet needs 63."""
    folder, lines = str(write_tree(tmp_path / "icons", 12, side=32)), list[str]()
    words = settings_for(folder, f"arch={arch}".split(), lines.append)
    config = composed(words)
    assert config.view.size == size and config.view.crop_size == size / 2
    (line,) = (line for line in lines if line.startswith("network "))
    why = {40: ", of images enlarged at most 1.56 times; view.size=", 96: ""}
    assert line.endswith("as typed" + why.get(size, ", at the smallest size here that it takes; view.size="))
    photos = str(write_tree(tmp_path / "photos", 12, side=140))
    assert composed(settings_for(photos, f"arch={arch.split()[0]}".split(), [].append)).view.size == 160


def test_small_images_are_kept_as_squares_where_they_differ_in_size(fit: dict[str, int], tmp_path: Path) -> None:
    """A few scans of 100 million pixels among icons would be decoded in each epoch."""
    folder = tmp_path / "icons"
    write_tree(folder / "small", 4, side=40)
    assert not [word for word in settings_for(str(folder), [], [].append) if word.startswith("reading.stored_size=")]
    write_tree(folder / "large", 1, side=44)
    assert f"reading.stored_size={round(1.2 * 60)}" in settings_for(str(folder), [], [].append)


def test_images_are_kept_for_the_crops_that_a_network_of_one_size_learns_from(
    fit: dict[str, int], tmp_path: Path
) -> None:
    """SmallAlexNet takes images of 160 px only: not the crops of 80 that the recipe would have it learn from."""
    folder = str(write_tree(tmp_path / "photos", 4, side=400))
    assert f"reading.stored_size={round(1.5 * 160)}" in settings_for(folder, ["arch=alexnet_small"], [].append)
    assert f"reading.stored_size={round(1.2 * 160)}" in settings_for(folder, ["arch=vgg_small"], [].append)


def test_the_minutes_count_from_the_start_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading torch takes seconds, before anything is chosen."""
    begun, started = time.perf_counter(), list[float]()

    def settings(folder: str, typed: list[str], *, started_at: list[float] = started, **named: float) -> list[str]:
        started_at.append(named["started"])
        raise ValueError("enough")

    monkeypatch.setattr(folder_command, "settings_for", settings)
    monkeypatch.setattr(sys, "argv", ["deepcluster", str(tmp_path)])
    with pytest.raises(SystemExit):
        program.main()
    assert begun <= started[0] < time.perf_counter()


@pytest.mark.parametrize(
    "typed",
    [
        "clustering.k=3 trainer.max_epochs=4 reduction.dim=4",
        "arch=resnet18 view.size=64 trainer.max_epochs=0",
        "experiment=small_images data=folder",
    ],
)
def test_what_is_typed_overrules_what_would_be_chosen(typed: str, fit: dict[str, int], tmp_path: Path) -> None:
    words = settings_for(str(write_tree(tmp_path / "photos", 12)), typed.split(), lambda line: None)
    keys = [word.partition("=")[0] for word in words]
    assert set(typed.split()) < set(words) and len(keys) == len(set(keys))  # Hydra takes no group twice
    composed(words)


def test_trained_weights_stay_as_they_are_unless_epochs_are_typed(fit: dict[str, int], tmp_path: Path) -> None:
    model = bundle(tmp_path / "model", paint(tmp_path / "learned"))
    folder, lines = str(write_tree(tmp_path / "photos", 30)), list[str]()
    words = settings_for(folder, [f"start={model}"], lines.append)
    assert {"arch=lenet", "arch.batch_norm=true", "view.size=16", "init=weights", "trainer.max_epochs=0"} < set(words)
    config = composed(words)
    assert isinstance(config.init, WeightsInit) and config.view.mean == [0.4, 0.5, 0.6]
    assert lines[1] == f"start      bundle, {model / 'backbone.safetensors'}: as typed"
    assert (
        lines[-2] == "epochs     0: the trained network stays as it is; trainer.max_epochs=5 adapts it to these images"
    )
    words = settings_for(folder, [f"start={model}", "trainer.max_epochs=2", "optimizer.lr=0.1"], lines.append)
    assert {"trainer.max_epochs=2", "optimizer.lr=0.1", *ADAPTING[1:]} < set(words) and ADAPTING[0] not in words
    assert "view.train_size=null" in words  # smaller crops were measured with networks that learn from nothing
    composed(words)


def test_an_onnx_file_is_a_start_that_is_not_trained(
    fit: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    file = write_onnx(tmp_path / "net.onnx", "logits", form="uint8")
    folder, lines, timed = str(write_tree(tmp_path / "photos", 30)), list[str](), folder_command.timed
    tried: list[list[str]] = []
    monkeypatch.setattr(folder_command, "timed", lambda words, *rest: timed(tried.append(words) or words, *rest))  # type: ignore[func-returns-value]
    words = settings_for(folder, [f"start={file}", "arch.output=features"], lines.append)
    assert all("trainer.max_epochs=0" in each for each in tried) and words.count("trainer.max_epochs=0") == 1
    assert {"arch=onnx", "view.size=16", "init=weights", f"init.path={file}", "trainer.max_epochs=0"} < set(words)
    assert "arch.output=logits" not in words and not [word for word in words if word.startswith("optimizer.")]
    assert lines[1] == f"start      ONNX file, {file}: as typed"
    assert lines[-2] == "epochs     0: the trained network stays as it is; an ONNX file cannot be trained"
    config = composed(words)
    arch, view, _ = config.init.network(config.arch, config.view)
    assert (arch["output"], arch["feature_dim"], view.mean) == ("features", 6, [0, 0, 0])
    assert config.reduction.dim == 6  # which is less than half of the images
    read_onnx, seen = onnx_start.read_onnx, list[str]()
    monkeypatch.setattr(onnx_start, "read_onnx", lambda path: (seen.append("read"), read_onnx(path))[1])
    describe = onnx_start.describe
    monkeypatch.setattr(
        onnx_start, "describe", lambda *args, **named: (seen.append("tried"), describe(*args, **named))[1]
    )
    looked_at = folder_command.look
    monkeypatch.setattr(folder_command, "look", lambda *args: (seen.append("look"), looked_at(*args))[1])
    settings_for(folder, [f"start={file}"], [].append)
    assert seen == ["read", "tried", "look"]
    seen.clear()
    build_parts(composed(words))
    assert seen == ["read", "tried", "tried"]  # arch.output=features is another one than the file's first
    any_size = named_start(str(write_onnx(tmp_path / "any.onnx", sides=("h", "w"))))
    assert any_size.sizes(40) == [224] and any_size.is_frozen


def test_auto_takes_what_lies_on_the_machine_unless_something_of_ones_own_is_typed(
    fit: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = bundle(tmp_path / "model", paint(tmp_path / "learned"))
    monkeypatch.setattr(start_word, "local_starts", lambda: [named_start(str(model))])
    folder, lines = str(write_tree(tmp_path / "photos", 30)), list[str]()
    assert "init=weights" in settings_for(folder, [], lines.append)
    assert lines[1].endswith("found on this machine; start=none learns without")
    for typed in (["start=none"], ["arch=vgg_small"], ["init=random"]):
        assert "init=weights" not in settings_for(folder, typed, [].append)
    for typed, said in (
        ([f"start={model}", "arch=lenet"], "leave arch= out, or start="),
        (["start=a", "start=b"], "give one of them"),
        (["start="], "start= is empty"),
    ):
        with pytest.raises(ValueError, match=said):
            settings_for(folder, typed, [].append)


def test_minutes_are_given_by_number_or_effort() -> None:
    assert minutes_of(["seed=2"]) == (10, ["seed=2"])
    assert minutes_of(["effort=long", "seed=2"]) == (60, ["seed=2"])
    assert minutes_of(["minutes=2.5"])[0] == 2.5
    for words, said in (
        (["minutes=x"], "minutes=x is no number"),
        (["minutes=0"], r"minutes=0 must be in \[0.5, 100,000\]"),
        (["minutes=200000"], r"minutes=200000 must be in \[0.5, 100,000\]"),
        (["minutes=nan"], r"must be in \[0.5, 100,000\]"),
        (["effort=much"], "none of quick \\(3 min\\), normal"),
        (["effort=quick", "minutes=4"], "give one of them"),
    ):
        with pytest.raises(ValueError, match=said):
            minutes_of(words)


def test_a_word_like_one_of_the_folders_own_keys_is_answered_by_that_key() -> None:
    check_own_keys(["minutes=2", "start=none", "seed=2", "page=true", "clustering.k=3", "target=lookup"])
    for word, meant in (("minute=3", "minutes=3"), ("Minutes=3", "minutes=3"), ("efort=long", "effort=long")):
        with pytest.raises(ValueError, match=f"did you mean {meant}"):
            check_own_keys(["seed=2", word])


@pytest.mark.slow
def test_a_folder_of_thirty_pictures_becomes_a_run(tmp_path: Path) -> None:
    """With the real measurement; from another folder, by a path with a space, without classes."""
    write_tree(tmp_path / "my photos", 30, side=40)
    (tmp_path / "my photos" / "c" / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    entry = tmp_path / "bin" / "deepcluster"
    entry.parent.mkdir()
    entry.write_text("from deepcluster.app.program import main\nmain()\n")
    typist = Typist(tmp_path)
    words = ["my photos", "minutes=1", "trainer.max_epochs=2", "evaluation.untrained=false", "reading.on_broken=skip"]
    (done,) = typist.type(typist.command(entry, *words))
    assert done.status == 0, done.err
    assert "clusters   7:" in done.out and "epoch   1/2" in done.out and " left" in done.out
    # of the run, and not of each network that was timed
    assert done.out.count("\nother rows ") == (done.out + done.err).count("1 of 31 images of data.root=") == 1
    (run,) = (tmp_path / "runs").iterdir()
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["k"], summary["epochs"], summary["n_images"]) == (7, 2, 30)
    (done,) = typist.type(typist.command(entry, os.path.relpath(run, tmp_path)))
    assert done.status == 1 and "is the folder of a run" in done.err
