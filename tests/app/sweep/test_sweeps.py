"""Whole sweeps as a user types them: stopped and started again, in other processes, as a search, from a file."""

import csv
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.typed import Finished, Typist

pytestmark = pytest.mark.slow

TINY = ["method=deepcluster", "data.limit=200", "reduction.dim=8", "trainer.max_epochs=2", "evaluation.enabled=false"]


@pytest.fixture(scope="module")
def typist(tmp_path_factory: pytest.TempPathFactory) -> Typist:
    return Typist(tmp_path_factory.mktemp("sweeps"))


def table(sweep: Path) -> dict[str, dict[str, str]]:
    """results.csv by the value of clustering.k."""
    with (sweep / "results.csv").open(newline="") as file:
        return {row["clustering.k"]: row for row in csv.DictReader(file)}


def nmi(sweep: Path) -> dict[str, str]:
    return {k: row["trained/nmi_labels"] for k, row in table(sweep).items()}


def how_to_go_on(done: Finished) -> list[str]:
    """The command that the program told, without `python train.py`."""
    (line,) = (line for line in done.out.splitlines() if line.startswith("go on"))
    return shlex.split(line.removeprefix("go on"))[2:]


@pytest.fixture(scope="module")
def whole(typist: Typist) -> Path:
    """A sweep that nothing stopped."""
    done = typist.train("-m", *TINY, "clustering.k=4,5,6", "output_dir=whole")
    assert done.status == 0, done.err
    assert (typist.folder / "whole" / "sweep.png").is_file()
    assert not (typist.folder / "whole" / ".untrained").exists()  # shared features go with the sweep's end
    return typist.folder / "whole"


def stopped_in_the_second_job(typist: Typist, name: str, status: int) -> tuple[Path, Finished]:
    """Three clusterings a job: the fifth is the second job's second epoch, after its first checkpoint."""
    stopped = typist.train("-m", *TINY, "clustering.k=4,5", f"output_dir={name}", kill=["k-means", 5, 3, name])
    assert stopped.status == status and "Traceback" not in stopped.err
    assert "stopped    job 1 (clustering.k=5)" in stopped.out and "1 of 2 jobs done" in stopped.out
    return typist.folder / name, stopped


def test_a_stopped_sweep_goes_on_where_it_was(typist: Typist, whole: Path) -> None:
    folder, stopped = stopped_in_the_second_job(typist, "SIGINT", 130)
    (first,) = folder.glob("*/summary.json")
    before = first.stat().st_mtime_ns
    command = [word.replace("clustering.k=4,5", "clustering.k=6,4,5") for word in how_to_go_on(stopped)]
    done = typist.train(*command)  # with one more value, which changes the jobs' numbers
    assert done.status == 0, done.err
    assert "1 of 3 jobs are done there, 1 go on where they stopped, 1 are new" in done.out
    assert "resuming after epoch 1" in done.out and first.stat().st_mtime_ns == before
    assert len(list(folder.glob("*/job.json"))) == 3
    assert nmi(folder) == nmi(whole) and len(nmi(folder)) == 3  # as if nothing had happened


def test_a_sweep_that_a_batch_system_ends_tells_how_to_go_on(typist: Typist) -> None:
    folder, stopped = stopped_in_the_second_job(typist, "SIGTERM", 143)
    assert how_to_go_on(stopped) == ["-m", *TINY, "clustering.k=4,5", f"output_dir={folder}"]
    assert len(list(folder.glob("*/summary.json"))) == 1 and len(list(folder.glob("*/checkpoints/last.ckpt"))) == 2


def test_a_changed_setting_is_another_job(typist: Typist, whole: Path) -> None:
    folder = shutil.copytree(whole, typist.folder / "changed")
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/summary.json")}
    done = typist.train("-m", *TINY, "clustering.k=4", "seed=2", "output_dir=changed")
    assert done.status == 0 and "left as they are, with other settings: 3" in done.out
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert len(list(folder.glob("*/summary.json"))) == 4
    with (folder / "results.csv").open(newline="") as file:
        assert sorted((row["clustering.k"], row["seed"]) for row in csv.DictReader(file)) == [
            ("4", "1"),
            ("4", "2"),
            ("5", "1"),
            ("6", "1"),
        ]


@pytest.mark.parametrize(("launcher", "values", "n_done"), [("joblib", "400,4,5", 1), ("submitit_local", "400,5", 0)])
def test_jobs_in_other_processes_are_reported_not_repeated_and_one_that_fails_takes_none_with_it(
    launcher: str, values: str, n_done: int, typist: Typist, whole: Path
) -> None:
    """K = 400 fails, 5 is new, and 4 was done before. Each process imports everything: few jobs."""
    folder = shutil.copytree(whole, typist.folder / launcher)
    (job_of_5,) = folder.glob("*clustering.k-5*")
    shutil.rmtree(job_of_5)
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/summary.json")}
    done = typist.train("-m", *TINY, f"hydra/launcher={launcher}", f"output_dir={launcher}", f"clustering.k={values}")
    assert done.status == 1 and "Traceback" not in done.err
    assert "failed     job 0 (clustering.k=400): clustering.k=400 needs" in done.out
    assert f"{n_done} of {len(values.split(','))} jobs are done there" in done.out
    assert "3 of 4 jobs done" in done.out  # with those that the folder held
    assert {k: v for k, v in nmi(folder).items() if v} == nmi(whole)
    assert before == {path: path.stat().st_mtime_ns for path in before} and len(before) == 2
    for log in (log for log in folder.glob("*/output.log") if log.parent / "summary.json" not in before):
        assert ("epoch   2/2" in log.read_text()) == ((log.parent / "summary.json").is_file())
    assert "epoch   1/2" not in done.out  # their lines are not mixed


@pytest.mark.parametrize("launcher", ["joblib", "submitit_slurm"])
def test_a_mistake_is_refused_before_other_processes_start(launcher: str, typist: Typist) -> None:
    done = typist.train("-m", *TINY, f"hydra/launcher={launcher}", "clustering.k=4,1", "output_dir=refused")
    assert done.status == 1 and "clustering.k must be at least 2" in done.err and "no job was started" in done.err
    assert not (typist.folder / "refused").exists()


def test_a_search_goes_on_with_its_study_and_its_stopped_trial(typist: Typist) -> None:
    """Two trials of three clusterings are done; the third is stopped in its second epoch."""
    folder = typist.folder / "search"
    search = ["-m", *TINY, "hydra/sweeper=optuna", "clustering.k=int(interval(4,40))", "objective=nmi_labels"]
    search += ["hydra.sweeper.n_trials=4", "output_dir=search"]
    stopped = typist.train(*search, kill=["k-means", 8, 3, "SIGINT"])
    assert stopped.status == 130 and "maximize nmi_labels in 4 trials" in stopped.out
    k_stopped = next(k for k, row in table(folder).items() if not row["trained/nmi_labels"])
    done = typist.train(*search)
    assert done.status == 0, done.err
    assert "in 4 trials, 2 of them done" in done.out and "resuming after epoch 1" in done.out
    found = nmi(folder)
    assert len(list(folder.glob("*/summary.json"))) == 4 and found[k_stopped]
    best = (folder / "optimization_results.yaml").read_text()
    assert f"best_value: {max(map(float, found.values()))}" in best
    other = typist.train(*[word.replace("nmi_labels", "nmi_previous") for word in search])
    assert other.status == 1 and "goes by nmi_labels" in other.err


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        (["clustering.k=int(interval(1,9))"], ["clustering.k must be at least 2"]),
        (["clustering.k=4,5", "reduction.dmi=8"], ["reduction.dim?"]),
        (["clustering.k=4,5", "objective=knn_accuracy"], ["is not measured with evaluation.enabled=false"]),
        (["clustering.k=4,5", "objective=loss"], ["objective must be one of"]),
    ],
)
def test_a_search_with_a_mistake_starts_no_trial(typed: list[str], named: list[str], typist: Typist) -> None:
    done = typist.train("-m", *TINY, "objective=nmi_labels", *typed, "hydra/sweeper=optuna", "output_dir=no_search")
    assert done.status == 1 and not (typist.folder / "no_search").exists()
    assert all(name in done.err for name in named), done.err


def test_a_sweep_from_a_file_is_typed_without_m_and_overruled(typist: Typist) -> None:
    small = [word for word in TINY if not word.startswith("reduction")]
    done = typist.train("sweep=k_pca", *small, "clustering.k=4", "reduction.dim=8,9", "seed=1,2", "output_dir=k_pca")
    assert done.status == 0, done.err
    stored: list[dict[str, Any]] = json.loads((typist.folder / "k_pca" / "results.json").read_text())
    assert [tuple(job["overrides"][key] for key in ("clustering.k", "reduction.dim", "seed")) for job in stored] == [
        ("4", "8", "1"),
        ("4", "8", "2"),
        ("4", "9", "1"),
        ("4", "9", "2"),
    ]
    assert "over seeds: mean ± sd" in done.out
