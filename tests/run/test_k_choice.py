"""clustering.k=auto in a run: chosen once, before anything is trained; then the run is that of the number."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose
from support.typed import REPOSITORY, TIMEOUT_S, Finished, Typist, clean_environment

from deepcluster.clustering.history import read_assignments
from deepcluster.clustering.k_by_number import k_by_number
from deepcluster.clustering.k_scan import Scan
from deepcluster.data.images import MemoryImages
from deepcluster.run import first_process, k_choice
from deepcluster.run import parts as run_parts
from deepcluster.run.train import train
from deepcluster.settings.resume import new_or_resumed_config
from deepcluster.settings.stored import read_stored_config
from deepcluster.settings.train import TrainConfig, train_config
from deepcluster.visualization.k_scan_picture import draw_scan

pytestmark = pytest.mark.usefixtures("composer")

SMALL = ["data.limit=200", "reduction.dim=8", "trainer.max_epochs=1", "evaluation.enabled=false"]
AUTO = "clustering.k=auto"


def settings(*overrides: str) -> TrainConfig:
    return train_config(compose("train", [*SMALL, *overrides]))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / "checkpoints/final.ckpt", weights_only=True)["state_dict"]
    return state


def assert_same(folder: Path, other: Path) -> None:
    one, two = weights(folder), weights(other)
    assert all(torch.equal(one[name], two[name]) for name in two)
    assert (read_assignments(folder).labels == read_assignments(other).labels).all()


def patterns(k: int, n: int = 240) -> MemoryImages:
    """n pictures of k kinds, in which nothing finer is to be found."""
    draw = torch.Generator().manual_seed(4)
    kinds = torch.nn.functional.interpolate(torch.rand(k, 1, 4, 4, generator=draw), size=28)
    noise = 0.02 * torch.randn(n, 1, 28, 28, generator=draw)
    pixels = (255 * (kinds[torch.arange(n) % k] + noise).clamp(0, 1)).to(torch.uint8)
    return MemoryImages(images=pixels, samples=[f"train/{i}" for i in range(n)], labels=None)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("clustering=spectral",),
        ("method=deepcluster_v2", "embedding.dim=16", "reduction.dim=null"),
        ("method=sela", "clustering.n_labelings=2"),
        ("method=swav", "embedding.dim=16"),
        ("other_rows=pixels", "other_rows.reduction.dim=8"),
    ],
    ids=["deepcluster", "spectral", "deepcluster_v2", "sela", "swav", "pixels"],
)
def test_a_run_with_auto_is_the_run_with_the_number_that_it_chose(tmp_path: Path, words: tuple[str, ...]) -> None:
    train(settings(AUTO, *words), tmp_path / "auto")
    k = read_stored_config(tmp_path / "auto/config.yaml").clustering.k
    assert k == json.loads((tmp_path / "auto/k_scan.json").read_text())["k"] and isinstance(k, int)
    train(settings(f"clustering.k={k}", *words), tmp_path / "number")
    assert_same(tmp_path / "auto", tmp_path / "number")
    assert not (tmp_path / "number/k_scan.json").exists()


def test_planted_kinds_of_pictures_become_k_and_the_screen_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        run_parts, "load_images", lambda data, reading, split: patterns(6) if split == "train" else None
    )
    train(settings(AUTO, "other_rows=pixels", "other_rows.reduction.dim=5"), tmp_path)
    out = capsys.readouterr().out
    assert "clustering at most K = 19, " in out
    halves = "two halves of the images, clustered apart,"
    assert f"clusters   K = 6, sure: {halves} find the same 6 groups (1.00 of 1), far apart; " in out
    assert "clustering.k=NUMBER overrules it" in out and f"{tmp_path}/k_scan.svg shows" in out
    assert set(read_assignments(tmp_path, "final").k) == {6}


def test_the_picture_tells_the_choice_and_every_number(tmp_path: Path) -> None:
    config = settings(AUTO)
    found = k_choice._scanned(config, run_parts.build_parts(config))
    drawn = draw_scan(found)
    assert f"chosen: K = {found.k}" in drawn and f"most on {found.groups}" in drawn
    line = drawn.split('class="line" points="')[1].split('"')[0].split()
    assert len(line) == len(found.ks)
    heights = [float(point.split(",")[1]) for point in line]
    assert heights.index(min(heights)) == found.means.index(max(found.means))


def test_a_resumed_run_keeps_its_k_and_auto_may_be_typed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(settings(AUTO, "trainer.max_epochs=2"), tmp_path / "whole")
    train(settings(AUTO), tmp_path / "run")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("scanned again")

    monkeypatch.setattr(k_choice, "scan", refuse)
    again = [*SMALL, AUTO, f"resume={tmp_path / 'run'}", "trainer.max_epochs=2"]
    train(new_or_resumed_config(compose("train", again), again), tmp_path / "run")
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_auto_is_refused_for_a_resumed_run_that_was_told_its_k(tmp_path: Path) -> None:
    train(settings("clustering.k=5"), tmp_path)
    again = [*SMALL, AUTO, f"resume={tmp_path}"]
    with pytest.raises(ValueError, match=r"clustering.k=auto cannot change in a resumed run"):
        new_or_resumed_config(compose("train", again), again)


def test_a_run_that_follows_keeps_the_number_or_is_told_one(tmp_path: Path) -> None:
    for name, typed in (("auto", AUTO), ("number", "clustering.k=5")):
        train(settings(typed), tmp_path / name)
    kept = new_or_resumed_config(compose("train", after := [AUTO, f"follows={tmp_path / 'auto'}"]), after)
    assert getattr(kept.clustering, "k", None) == json.loads((tmp_path / "auto/k_scan.json").read_text())["k"]
    with pytest.raises(ValueError, match=r"clustering.k=auto is for a new start, and follows=.* or set clustering.k=N"):
        new_or_resumed_config(compose("train", after := [AUTO, f"follows={tmp_path / 'number'}"]), after)


def test_a_start_after_a_kill_reads_the_scan_of_the_same_settings_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(AUTO)
    parts = run_parts.build_parts(config)
    chosen, _ = k_choice.with_chosen_k(config, parts, tmp_path)
    n_scans = []
    monkeypatch.setattr(k_choice, "_scanned", lambda *of: n_scans.append(1) or found)
    found = Scan(**json.loads((tmp_path / "k_scan.json").read_text())["scan"])
    assert k_choice.with_chosen_k(config, parts, tmp_path)[0] == chosen and not n_scans
    k_choice.with_chosen_k(settings(AUTO, "seed=2"), parts, tmp_path)
    (tmp_path / "k_scan.json").write_text("{")
    k_choice.with_chosen_k(config, parts, tmp_path)
    assert len(n_scans) == 2


def test_other_processes_read_what_the_first_has_chosen_or_say_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(AUTO)
    parts = run_parts.build_parts(config)
    chosen, _ = k_choice.with_chosen_k(config, parts, tmp_path)
    monkeypatch.setattr(first_process.distributed, "is_main_process", lambda: False)
    monkeypatch.setattr(k_choice, "_scanned", lambda *_: pytest.fail("only the first process scans"))
    assert k_choice.with_chosen_k(config, parts, tmp_path)[0] == chosen
    late = settings(AUTO, "+trainer.timeout_minutes=0.001")
    with pytest.raises(TimeoutError, match=r"clustering.k=auto: .*k_scan.json, .* or clustering.k=NUMBER"):
        k_choice.with_chosen_k(late, parts, tmp_path / "elsewhere")


def test_the_estimate_counts_the_scan_and_scans_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(settings(AUTO, "estimate=true"), tmp_path)
    out = capsys.readouterr().out
    assert "before them a scan for K: " in out and f"those of K = {k_by_number(200)}, the most" in out
    assert not (tmp_path / "k_scan.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((AUTO, "mode=official"), "which is told K, and clustering.k=auto chooses it; set clustering.k=NUMBER"),
        (("clustering.k=[auto,50]",), r"clustering.k must be an integer, .*, or auto; got \['auto', 50\]"),
        (("clustering.k=automatic",), "clustering.k must be an integer, .*, or auto; got 'automatic'"),
    ],
)
def test_where_k_cannot_be_chosen_a_sentence_says_so(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(*words)


def by_torchrun(folder: Path, words: list[str]) -> Finished:
    """torchrun --nproc-per-node=2 train.py words."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    command = [*launch, str(REPOSITORY / "train.py"), *words]
    done = subprocess.run(
        command, cwd=folder, env=clean_environment(), capture_output=True, text=True, timeout=TIMEOUT_S
    )
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
@pytest.mark.ddp
@pytest.mark.parametrize("starter", ["lightning", "torchrun"])
def test_all_processes_have_the_k_of_the_first(tmp_path: Path, starter: str) -> None:
    two = [
        "trainer=ddp",
        "trainer.accelerator=cpu",
        "trainer.devices=2",
        "other_rows=coates",
        "other_rows.n_filters=16",
    ]
    words = ["method=deepcluster", *SMALL, *two, "other_rows.reduction.dim=8", AUTO, f"output_dir={tmp_path / 'run'}"]
    done = Typist(tmp_path).train(*words) if starter == "lightning" else by_torchrun(tmp_path, words)
    assert done.status == 0, done.err
    assert done.out.count("overrules it") == 1
    k = read_stored_config(tmp_path / "run/config.yaml").clustering.k
    assert set(read_assignments(tmp_path / "run").k) == {k} == {k_by_number(200)}
