"""The papers' figures as a researcher asks for them: whole and tiny, stopped by the clock, and the commands of each."""

import json
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from support.configs import CONFIGS
from support.tiny_sets import write_fashion_mnist

from benchmarks import papers
from deepcluster.app.hydra_setup import register
from deepcluster.app.sweep.jobs import Job, write_job
from deepcluster.app.sweep.overrides import expand_jobs
from deepcluster.settings.eval import eval_config
from deepcluster.settings.train import train_config


def alignment(folder: Path) -> Path:
    """What an evaluation of twelve networks leaves: the seeds 0 to 11 at K = 4 and 9, in rising order at 9."""
    folder.mkdir(parents=True)
    rows = [f"{seed},{k},8,{nmi}" for seed in range(12) for k, nmi in ((4, 0.5 - seed / 100), (9, 0.6 + seed / 100))]
    (folder / papers.ALIGNMENT).write_text("\n".join(["seed,k,dim,nmi", *rows, ""]))
    return folder


def test_seeds_span_the_alignment_at_the_best_k(tmp_path: Path) -> None:
    """By hand: ten even steps from the alignment of seed 0 to that of seed 11 leave out two seeds in the middle."""
    seeds = papers.seeds_spanning(alignment(tmp_path / "ia"))
    assert len(seeds) == 10 and seeds == sorted(seeds) and seeds[0] == 0 and seeds[-1] == 11


@pytest.mark.parametrize("flags", [["--gpu"], ["--smallest"]], ids=["gpu", "smallest"])
def test_the_command_of_each_figure_composes(flags: list[str], tmp_path: Path) -> None:
    arguments = papers.options().parse_args(flags)
    register()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        for task in papers.tasks_for(gpu=arguments.gpu):
            if task.seeds_of is not None:
                alignment(tmp_path / task.seeds_of)
            _, program, *words = shlex.split(papers.command(task, tmp_path, tmp_path, arguments))
            assert len({word.partition("=")[0] for word in words}) == len(words)
            if program == "eval.py":
                eval_config(compose("eval", words), words)
            else:
                train_config(compose("train", expand_jobs(words)[-1]))
            assert task.seeds_of is None or any(word.startswith("seed=0,") for word in words)


def test_a_figure_has_the_papers_values_for_its_own_experiment_only() -> None:
    """On a processor A.2 is run with the network for 32 px, which is not the one of the paper's table."""
    large, small = ({task.name: task for task in papers.tasks_for(gpu=gpu)} for gpu in (True, False))
    assert papers.figure_of_file("deepdive_fig5", large["a2_cifar10"]).paper["15"] == 62.0
    assert papers.figure_of_file("deepdive_fig5", large["fig5_fashion_mnist"]).paper == {}
    assert papers.figure_of_file("deepdive_fig5", small["a2_cifar10"]).paper == {}


def test_without_a_gpu_there_are_small_tasks_only_and_their_small_words_count(tmp_path: Path) -> None:
    small = {task.name: task for task in papers.tasks_for(gpu=False)}
    assert set(small) == {task.name for task in papers.TASKS if task.images != "svhn"}
    words = shlex.split(papers.command(small["fig4_cifar10"], tmp_path, tmp_path, papers.options().parse_args([])))
    assert {"clustering.k=5,10,50,200", "arch.channels=[12,32,48,48,32]", "data.limit=5000"} <= set(words)


def test_the_smallest_sweep_has_two_values_of_what_varies_and_whole_lists(tmp_path: Path) -> None:
    (task,) = (task for task in papers.tasks_for(gpu=False) if task.name == "fig4_cifar10")
    words = shlex.split(papers.command(task, tmp_path, tmp_path, papers.options().parse_args(["--smallest"])))
    assert {"clustering.k=5,10", "seed=1,2", "arch.channels=[12,32,48,48,32]"} <= set(words)


def test_two_figures_of_the_same_runs_are_told_as_far_as_they_are_done(tmp_path: Path) -> None:
    (task,) = (task for task in papers.TASKS if task.name == "fig4_fashion_mnist")
    for number, k in enumerate(["5", "5", "9"]):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_job(Job(number=number, folder=str(folder), overrides={"clustering.k": k, "seed": str(number)}))
        numbers = {"trained": {"linear_probe_accuracy": 0.5 + number / 10}, "untrained": {"nmi_labels": number / 4}}
        (folder / "summary.json").write_text(json.dumps({**numbers, "seconds": {"this_process": 40}}))
    lines = list(papers.told(task, tmp_path))
    assert "| 5 | 55.0 ± 7.1 | 2 |" in lines and "| K 9 | 1 | 0.500 | 70.0 | - |" in lines
    assert lines[-1] == "fig4_fashion_mnist is not finished" and f"2 minutes; {tmp_path / 'deepdive_fig6.png'}" in lines
    assert all((tmp_path / f"{name}.png").is_file() for name in task.figures)


@pytest.mark.slow
def test_figures_are_run_told_and_not_run_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_fashion_mnist(tmp_path / "sets" / "fashion_mnist")
    names = ["ia_fashion_mnist", "fig3_fashion_mnist"]
    words = ["--smallest", "--data", str(tmp_path / "sets"), "--folder", str(tmp_path / "papers"), "--only", *names]
    assert papers.main([*words, "--minutes", "0"]) == 0
    assert "stopped after 0 minutes" in capsys.readouterr().out
    assert papers.main(words) == 0
    out = capsys.readouterr().out
    assert "| 20 | 40 | 12 | " in out and "| each run | 2 | " in out and "rank correlation" in out
    assert (tmp_path / "papers" / "fig3_fashion_mnist" / "deepdive_fig3.png").is_file()
    finished = {file: file.stat().st_mtime_ns for file in (tmp_path / "papers").glob("*/done.txt")}
    assert len(finished) == 2 and papers.main(words) == 0
    assert finished == {file: file.stat().st_mtime_ns for file in finished}


def test_what_is_missing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fashion_mnist").mkdir()
    words = ["--folder", str(tmp_path / "papers"), "--only", "fig3_fashion_mnist"]
    assert papers.main(words) == 1 and "--data DIR" in capsys.readouterr().err
    assert papers.main([*words, "--data", str(tmp_path)]) == 1
    assert "add ia_fashion_mnist to --only" in capsys.readouterr().err
    mixed = ["--only", "ia_fashion_mnist", "fig3_svhn", "--data", str(tmp_path), "--folder", str(tmp_path / "papers")]
    assert papers.main(mixed) == 1
    assert "without --gpu leave out fig3_svhn, which" in capsys.readouterr().err
    assert not (tmp_path / "papers").exists()
    assert papers.main([*words, "--data", str(tmp_path / "sets")]) == 0
    assert "fig3_fashion_mnist is left out" in capsys.readouterr().out
