"""The end of a sweep: what differs between its jobs, their numbers, those that failed."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from deepcluster.app.sweep.jobs import Job, jobs_in, numbers_in, write_job
from deepcluster.app.sweep.table import differing_keys, print_results, sort_jobs, write_results
from deepcluster.system.tables import mean_and_spread


def job(number: int, typed: str, evaluation: str | None = None, **rest: Any) -> Job:
    overrides = dict(word.split("=") for word in typed.split())
    return Job(number=number, folder=f"sweep/{number}", overrides=overrides, evaluation=evaluation, **rest)


def told(jobs: list[Job], width: int = 200) -> list[str]:
    """What is printed, line by line, without its rules."""
    console = Console(file=io.StringIO(), width=width, soft_wrap=True, markup=False)
    print_results(jobs, Path("sweep"), console)
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


def test_a_run_that_went_back_to_its_start_says_so(tmp_path: Path) -> None:
    for k, kept in ((4, "start"), (5, "trained")):
        (tmp_path / str(k)).mkdir()
        (tmp_path / str(k) / "summary.json").write_text(json.dumps({"trained": {"nmi_labels": 0.5}, "kept": kept}))
    jobs = [job(k, f"k={k}", numbers=numbers_in(tmp_path / str(k))) for k in (4, 5)]
    assert told(jobs)[-2:] == [
        "back job 4 (k=4) ended with its start: training made it worse",
        "sweep 2 jobs; sweep: results.csv, results.json",
    ]
    write_results(jobs, tmp_path)
    with (tmp_path / "results.csv").open(newline="") as file:
        assert [row["went_back"] for row in csv.DictReader(file)] == ["1", ""]


def test_a_table_in_a_file_is_not_folded_to_a_terminals_width() -> None:
    jobs = [job(i, f"ckpt={'x' * 60}{i}", "knn", numbers={"n": 1}) for i in range(3)]
    assert told(jobs, width=80)[1] == " ".join(f"ckpt={'x' * 60}{i}" for i in range(3))


def test_what_differs_is_what_was_typed_with_several_values() -> None:
    assert differing_keys([job(0, "a=1 b=2 c=3"), job(1, "a=1 b=5 c=3")]) == ["b"]
    assert differing_keys([job(0, "a=1"), job(1, "a=1 b=5")]) == ["b"]


def test_numbers_are_read_from_either_programs_file(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"trained": {"knn_accuracy": 0.5, "ari": null}, "k": 7, "x": "text"}')
    assert numbers_in(tmp_path) == {"trained/knn_accuracy": 0.5, "k": 7}
    assert numbers_in(tmp_path / "elsewhere") == {}


def test_what_was_measured_is_no_number(tmp_path: Path) -> None:
    """results.json of untrained networks tells the architecture's settings too."""
    (tmp_path / "results.json").write_text('{"arch": {"hidden": 2048, "sobel": true}, "epochs": 0, "nmi": null}')
    assert numbers_in(tmp_path) == {"epochs": 0}


def test_jobs_are_read_from_their_folders_whichever_process_ran_them(tmp_path: Path) -> None:
    for number, (k, error, ended) in enumerate([("30", None, True), ("4", "no such file", True), ("5", None, False)]):
        folder = tmp_path / f"{number}_k-{k}"
        folder.mkdir()
        (folder / "summary.json").write_text(json.dumps({"trained": {"knn_accuracy": 0.25}}))
        write_job(Job(number=number, folder=str(folder), overrides={"k": k}, error=error, ended=ended))
    (tmp_path / "9_damaged").mkdir()
    (tmp_path / "9_damaged" / "job.json").write_text('{"number": 9')
    found = jobs_in(tmp_path)
    assert [(job.number, job.done, job.numbers) for job in found] == [
        (0, True, {"trained/knn_accuracy": 0.25}),
        (1, False, {}),
        (2, False, {}),
    ]
    write_results(found, tmp_path)
    with (tmp_path / "results.csv").open(newline="") as file:
        first, second, _ = csv.DictReader(file)
    assert (first["k"], first["trained/knn_accuracy"], first["error"]) == ("30", "0.25", "")
    assert (second["k"], second["trained/knn_accuracy"], second["error"]) == ("4", "", "no such file")
    lines = told(found)
    assert lines[-3:] == [
        "failed job 1 (k=4): no such file",
        f"stopped job 2 (k=5); {tmp_path}/2_k-5",
        "sweep 1 of 3 jobs done; sweep: results.csv, results.json",
    ]


def test_jobs_stand_by_the_size_of_their_numbers_and_words_as_they_came() -> None:
    jobs = [job(i, f"sampler={s} k={k}") for i, (s, k) in enumerate([("uniform", 100), ("uniform", 20), ("all", 3)])]
    assert [j.number for j in sort_jobs(jobs)] == [1, 0, 2]


def test_a_sweep_over_seeds_has_a_row_for_what_differs_in_nothing_else() -> None:
    """Worked out by hand: 0.2, 0.4 and 0.6 have mean 0.4 and, over n - 1, standard deviation 0.2."""
    jobs = [
        job(i, f"k={k} seed={seed}", numbers={"trained/nmi_labels": nmi, "untrained/nmi_labels": nmi / 2})
        for i, (k, seed, nmi) in enumerate([(5, 1, 0.2), (5, 2, 0.4), (5, 3, 0.6), (9, 1, 0.75)])
    ]
    lines = told(jobs)
    assert lines[7].startswith("k seeds k-NN")
    assert lines[8:10] == ["5 3 - - 0.400 ± 0.200 (0.200) - -", "9 1 - - 0.750 (0.375) - -"]
    assert mean_and_spread([0.25, 0.75], "{:.1%}") == "50.0 ± 35.4%"
    assert not any(line.startswith("over seeds") for line in told(jobs[2:]))  # one seed each


def test_a_seed_has_one_column_whether_it_was_typed_or_not(tmp_path: Path) -> None:
    """summary.json tells each run's seed too."""
    typed = Job(number=0, folder="0", overrides={"clustering.k": "4", "seed": "2"}, numbers={"seed": 2})
    default = Job(number=1, folder="1", overrides={"clustering.k": "4"}, numbers={"seed": 1})
    write_results([typed, default], tmp_path)
    header, first, second = (line.split(",") for line in (tmp_path / "results.csv").read_text().splitlines())
    assert header == ["job", "folder", "clustering.k", "seed", "error"]
    assert (first[3], second[3]) == ("2", "1")
