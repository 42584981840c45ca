"""The end of a sweep: what differs between its jobs, their numbers, those that failed."""

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf
from rich.console import Console

from deepcluster.sweep_table import Job, SweepTable, differing, numbers_in, tell


def job(number: int, typed: str, evaluation: str | None = None, **rest: Any) -> Job:
    overrides = dict(word.split("=") for word in typed.split())
    return Job(number=number, folder=f"sweep/{number}", overrides=overrides, evaluation=evaluation, **rest)


def told(jobs: list[Job], width: int = 200) -> list[str]:
    """What is printed, line by line, without its rules."""
    console = Console(file=io.StringIO(), width=width, soft_wrap=True, markup=False)
    tell(jobs, Path("sweep"), console)
    assert isinstance(console.file, io.StringIO)
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines() if line.strip(" ─")]


EVALUATED = [
    job(0, "ckpt=a evaluation=knn", "knn", numbers={"knn_accuracy": 0.8125, "n_images": 5000}),
    job(1, "ckpt=a evaluation=assign", "assign", numbers={"clusters_used": 7}),
    job(2, "ckpt=b evaluation=knn", "knn", numbers={"knn_accuracy": 0.79, "best_k": 20}),
    job(3, "ckpt=b evaluation=assign", "assign", error="b holds no clusters"),
]


def test_evaluations_are_blocks_with_a_column_for_each_checkpoint() -> None:
    assert told(EVALUATED) == [
        "evaluation=knn",
        "ckpt=a ckpt=b",
        "knn_accuracy 0.8125 0.79",
        "n_images 5,000 -",
        "best_k - 20",
        "evaluation=assign",
        "ckpt=a",
        "clusters_used 7",
        "failed job 3 (ckpt=b evaluation=assign): b holds no clusters",
        "sweep 3 of 4 jobs done; sweep: results.csv, results.json",
    ]


def test_more_checkpoints_than_a_line_holds_go_below_each_other() -> None:
    lines = told([job(i, f"ckpt={i}", "knn", numbers={"knn_accuracy": i / 10}) for i in range(5)])
    assert lines[1:3] == ["ckpt=0 ckpt=1 ckpt=2 ckpt=3", "knn_accuracy 0 0.1 0.2 0.3"]
    assert lines[4:6] == ["ckpt=4", "knn_accuracy 0.4"]


def test_runs_are_rows_with_what_differs_and_both_networks_figures() -> None:
    trained = {"trained/knn_accuracy": 0.83, "untrained/knn_accuracy": 0.8, "trained/nmi_labels": 0.4791}
    jobs = [
        job(0, "clustering.k=100 seed=1", numbers={**trained, "trained/clusters_used": 100.0}),
        job(1, "clustering.k=200 seed=1", numbers={"trained/nmi_labels": 0.5}),
    ]
    assert told(jobs)[1:] == [
        "clustering.k k-NN linear probe NMI labels NMI last clusters",
        "100 83.0% (80.0%) - 0.479 - 100",
        "200 - - 0.500 - -",
        "sweep 2 jobs; sweep: results.csv, results.json",
    ]


def test_a_table_in_a_file_is_not_folded_to_a_terminals_width() -> None:
    jobs = [job(i, f"ckpt={'x' * 60}{i}", "knn", numbers={"n": 1}) for i in range(3)]
    assert told(jobs, width=80)[1] == " ".join(f"ckpt={'x' * 60}{i}" for i in range(3))


def test_what_differs_is_what_was_typed_with_several_values() -> None:
    assert differing([job(0, "a=1 b=2 c=3"), job(1, "a=1 b=5 c=3")]) == ["b"]
    assert differing([job(0, "a=1"), job(1, "a=1 b=5")]) == ["b"]


def test_numbers_are_read_from_either_programs_file(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"trained": {"knn_accuracy": 0.5, "ari": null}, "k": 7, "x": "text"}')
    assert numbers_in(tmp_path) == {"trained/knn_accuracy": 0.5, "k": 7}
    assert numbers_in(tmp_path / "elsewhere") == {}


def test_what_was_measured_is_no_number(tmp_path: Path) -> None:
    """results.json of untrained networks tells the architecture's settings too."""
    (tmp_path / "results.json").write_text('{"arch": {"hidden": 2048, "sobel": true}, "epochs": 0, "nmi": null}')
    assert numbers_in(tmp_path) == {"epochs": 0}


def test_files_grow_job_by_job_and_the_table_comes_after_the_last_also_if_one_failed(
    tmp_path: Path, capsys: Any
) -> None:
    table = SweepTable()
    typed = ["ckpt=a,b", "evaluation=knn", "output_dir=sweep"]
    table.on_multirun_start(OmegaConf.create({"hydra": {"overrides": {"task": typed}}}))
    for number, ckpt in enumerate("ab"):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        (folder / "results.json").write_text(json.dumps({"ckpt": ckpt, "accuracy": 0.25}))
        hydra = {
            "overrides": {"task": [f"ckpt={ckpt}", *typed[1:]]},
            "runtime": {"output_dir": str(folder), "choices": {"evaluation": "knn"}},
            "job": {"num": number},
            "sweep": {"dir": str(tmp_path)},
        }
        done = JobReturn(status=JobStatus.COMPLETED if number == 0 else JobStatus.FAILED)
        done.return_value = None if number == 0 else ValueError("no such file, as it happens")
        assert capsys.readouterr().out == ""
        table.on_job_end(OmegaConf.create({"hydra": hydra}), done)
        stored = json.loads((tmp_path / "results.json").read_text())
        assert [job["numbers"] for job in stored] == [{"accuracy": 0.25}, {}][: number + 1]
    with (tmp_path / "results.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["ckpt"], first["evaluation"], first["accuracy"], first["error"]) == ("a", "knn", "0.25", "")
    assert (second["ckpt"], second["accuracy"], second["error"]) == ("b", "", "no such file, as it happens")
    assert "output_dir" not in first
    assert "failed     job 1 (ckpt=b): no such file" in capsys.readouterr().out


def test_a_single_run_is_no_sweep(capsys: Any) -> None:
    SweepTable().on_job_end(SimpleNamespace(hydra=None), JobReturn(status=JobStatus.COMPLETED))  # type: ignore[arg-type]
    assert capsys.readouterr().out == ""
