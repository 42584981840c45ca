"""The leaderboard: its rows, its images, its file of results, and whole measurements on tiny sets."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.tiny_sets import write_fashion_mnist, write_photographs, write_tables

from benchmarks.leaderboard import __main__ as program
from benchmarks.leaderboard import results
from benchmarks.leaderboard.judge import Judge
from benchmarks.leaderboard.rows import SETS, START, Row, chosen_rows, gpu_rows, main_rows, v1_to_v2_rows
from benchmarks.leaderboard.sets import SplitImages, data_overrides
from benchmarks.settings import read_config
from deepcluster.data.reading_settings import Reading
from deepcluster.data.settings import Arrays, Parquet
from deepcluster.run.train import train

Result = dict[str, object]


# Rows --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SETS)
def test_every_row_composes_with_the_images_of_its_set(name: str) -> None:
    for row in (row for row in [*main_rows(name), *gpu_rows(name)] if row.baseline is None):
        read_config([*row.overrides, *data_overrides(name, Path("DIR"))])


def test_the_steps_lead_from_deepcluster_to_deepcluster_v2() -> None:
    for name in ("cifar10", "embedded"):
        words = {row.name: [*row.overrides, *data_overrides(name, Path("DIR"))] for row in v1_to_v2_rows(name)}
        v2 = [*START[name].split(), "method=deepcluster_v2", *data_overrides(name, Path("DIR"))]
        assert read_config(words.pop("+ centroids as head = v2")) == read_config(v2)
        for between in words.values() if name == "cifar10" else ():  # it sets the most that a cell could keep
            config = read_config(between)
            if config.rows.of == "embedding":  # refused when the network is built
                assert (config.reduction.dim or 0) <= config.embedding.dim


def test_overrides_alone_are_a_row_and_otherwise_a_part_of_each() -> None:
    assert chosen_rows("embedded", "main", None, ["clustering.k=7", "seed=3"]) == [
        Row(name="clustering.k=7 seed=3", overrides=("clustering.k=7", "seed=3"))
    ]
    assert chosen_rows("cifar10", "main", ["swav"], ["clustering.k=7"]) == [
        Row(name="swav clustering.k=7", overrides=("experiment=cifar10", "method=swav", "clustering.k=7"))
    ]
    with pytest.raises(ValueError, match="--rows swaw: --table main has pixels, patches, untrained"):
        chosen_rows("cifar10", "main", ["swaw"], [])
    with pytest.raises(ValueError, match="--rows pixels takes no overrides"):
        chosen_rows("cifar10", "main", ["pixels"], ["clustering.k=7"])


# Images ------------------------------------------------------------------------------------------------------------


def test_held_out_images_are_not_learned_from(tmp_path: Path) -> None:
    tables = Parquet(root=str(write_tables(tmp_path / "tables", n_train=40, n_test=10)))
    final = SplitImages(name="cifar10", place=None)
    whole = final(tables, Reading(), "train").samples
    assert len(whole) == 40 and len(final(tables, Reading(), "test")) == 10
    for name, judged in (("cifar10", whole[-8:]), ("imagenette", None)):
        chosen = SplitImages(name=name, place=None, held_out=True, n_test=8)
        learned, tested = (chosen(tables, Reading(), split).samples for split in ("train", "test"))
        assert sorted([*learned, *tested]) == sorted(whole) and len(tested) == 8
        assert judged is None or list(tested) == list(judged)
        again = SplitImages(name=name, place=None, held_out=True, n_test=8, n_train=16)
        assert list(again(tables, Reading(), "test").samples) == list(tested)
        assert list(again(tables, Reading(), "train").samples) == list(learned)[::2]


def test_the_embedded_set_is_judged_on_the_files_of_fashion_mnist(tmp_path: Path) -> None:
    place = write_fashion_mnist(tmp_path / "idx")
    whole = Arrays(source="fashion_mnist", root=str(place))
    for held_out, judged in ((False, "test"), (True, "train")):
        images = SplitImages(name="embedded", place=place, held_out=held_out, n_test=40)
        assert len(images(Arrays(), Reading(), "train")) == 5000
        expected = SplitImages(name="cifar10", place=None)(whole, Reading(), judged)
        tested = images(Arrays(), Reading(), "test")
        assert list(tested.samples) == list(expected.samples)[-40:]
        assert torch.equal(tested.read(3), expected.read(len(expected) - 37))


# Results -----------------------------------------------------------------------------------------------------------


def result(seed: int, **figures: object) -> Result:
    identity = {"set": "embedded", "held_out": False, "n_train": None, "table": "main", "row": "recipe", "seed": seed}
    where = {"commit": "abc", "machine": "a machine"}
    return {**identity, "overrides": ["experiment=small_images"], **where, **figures}


def test_of_a_repeated_measurement_the_last_counts_and_a_cut_off_line_is_none(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    assert results.read_results(file) == []
    for one in (result(1, knn=0.1), result(2, knn=0.2)):
        results.append(file, one)
    with file.open("a") as lines:
        lines.write('{"set": "embedd')
    results.append(file, result(1, knn=0.3))
    assert [(one["seed"], one["knn"]) for one in results.read_results(file)] == [(2, 0.2), (1, 0.3)]


def test_the_page_has_means_spreads_and_the_best_stage() -> None:
    rows = [
        result(1, knn=0.80, probe_last=0.7, probe_conv1=0.8, probe_conv2=0.9),
        result(2, knn=0.82, probe_last=0.8, probe_conv1=0.9, probe_conv2=0.7),
        result(3, knn=0.99) | {"overrides": ["experiment=other"]},  # what the row was before
        result(3, knn=0.50) | {"row": "mine", "overrides": ["clustering.k=7"]},
    ]
    page = results.page(rows)
    assert "| recipe | 81.0 ± 1.4 | - | 75.0 ± 7.1 | 90.0 ± 0.0 (conv1) |" in page
    assert "| mine | 50.0 | - |" in page and "99.0" not in page
    assert "- mine: `clustering.k=7`; commit abc; a machine" in page


# Whole -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_is_judged_as_in_its_own_table_and_not_measured_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, out = write_fashion_mnist(tmp_path / "idx"), tmp_path / "results.jsonl"
    words = ["--set", "embedded", "--smallest", "--data", str(place), "--out", str(out), "--seeds", "1", "--rows"]
    assert program.main([*words, "patches", "2018", "deepcluster_v2"]) == 0
    lines = out.read_text().splitlines()
    assert program.main([*words, "2018", "deepcluster_v2"]) == 0
    assert out.read_text().splitlines() == lines  # nothing was left to do
    assert "embedded  2018  seed 1: k-NN" in capsys.readouterr().out
    measured = {one["row"]: one for one in map(json.loads, lines)}
    assert measured["2018"]["command"] == "python -m benchmarks.leaderboard --set embedded --rows 2018 --seeds 1"
    assert all(one["judge_cpu_s"] > 0 and 0 < one["nmi"] < 1 for one in measured.values())

    measurement = program.measurement_of(program.options().parse_args(words[:-1]), "embedded", place)
    config = measurement.config(Row(name="2018"), 1)
    evaluation = replace(config.evaluation, enabled=True, linear_probe=measurement.probe)
    with measurement._stand_in():
        summary = train(replace(config, evaluation=evaluation), tmp_path / "run")
    own = {
        "knn": "knn_accuracy",
        "knn_whitened": "knn_whitened_accuracy",
        "probe_last": "linear_probe_accuracy",
        "nmi": "nmi_classes",
    }
    for column, row in (("trained", "2018"), ("patches", "patches")):
        of_run = {name: summary[column][figure] for name, figure in own.items()}
        assert {name: measured[row][name] for name in own} == pytest.approx(of_run)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar10", "imagenette"])
def test_settings_are_tried_on_held_out_images_and_what_is_refused_is_kept(name: str, tmp_path: Path) -> None:
    if name == "cifar10":
        write_tables(tmp_path / name)
    else:
        for split, n in (("train", 140), ("val", 40)):
            write_photographs(tmp_path / name / split, n=n)
    out = tmp_path / "results.jsonl"
    words = ["--set", name, "--smallest", "--held-out", "--data", str(tmp_path), "--out", str(out), "--seeds", "4"]
    assert program.main([*words, "--rows", "recipe", "--", "optimizer.lr=0.01"]) == 0
    assert program.main([*words, "--", "arch=resnet18", "head=centroids"]) == 0
    trained, refused = map(json.loads, out.read_text().splitlines())
    assert trained["row"] == "recipe optimizer.lr=0.01" and trained["train_cpu_s"] > 0
    assert 0 <= trained["knn"] <= 1 and "probe_last" in trained
    assert "head=centroids" in refused["refused"]
    assert str(tmp_path) not in out.read_text()


@pytest.mark.slow
def test_a_run_for_a_gpu_that_is_out_of_time_goes_on_where_it_was_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tables(tmp_path / "cifar10")
    out, kept = tmp_path / "results.jsonl", tmp_path / "kept"
    words = ["--gpu", "--set", "cifar10", "--rows", "swav", "--data", str(tmp_path), "--out", str(out)]
    if not torch.cuda.is_available():
        assert program.main(words) == 1 and "--gpu needs a CUDA device" in capsys.readouterr().err
    words += ["--smallest", "--folder", str(kept)]

    def stop(*_: object) -> None:
        try:
            signal.raise_signal(signal.SIGALRM)  # as the clock does
        except BaseException as stopped:
            raise ValueError("what a library makes of it") from stopped

    monkeypatch.setattr(Judge, "network", stop)
    assert program.main([*words, "--minutes", "99"]) == 0
    assert "stopped after 99 minutes; the same command goes on" in capsys.readouterr().out
    assert not out.exists()
    trained = {file: file.read_bytes() for file in kept.glob("*/checkpoints/final.ckpt")}
    assert len(trained) == 1

    monkeypatch.undo()
    assert program.main(words) == 0
    (result,) = results.read_results(out)
    assert result["table"] == "gpu" and result["epochs"] == 1 and 0 < result["knn"] <= 1
    assert all(file.read_bytes() == content for file, content in trained.items())  # it was not trained again
