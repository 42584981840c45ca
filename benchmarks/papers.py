"""The papers' figures in order of worth, each beside the paper's values: what is told in docs/papers.md.

    python -m benchmarks.papers --data DIR
    python -m benchmarks.papers --gpu --minutes 120 --data DIR
    python -m benchmarks.papers --only ia_fashion_mnist fig3_fashion_mnist --data DIR
    python -m benchmarks.papers --table

DIR holds fashion_mnist/, cifar10/ and svhn/ with their files; figures of a set that it lacks are left out. Each figure
is a sweep of train.py (configs/sweep/), or an evaluation of untrained networks, in a folder of runs/papers: the same
command goes on where it was stopped. Without --gpu there are few images and epochs, of CIFAR-10 a quarter of the small
AlexNet too, and only what a processor can do in hours; --gpu has the papers' sizes. --table prints what is there.
"""

import argparse
import csv
import shlex
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from benchmarks.cycle import machine
from benchmarks.deadline import Deadline, OutOfTime
from benchmarks.settings import CONFIGS, ROOT, commit, parser
from deepcluster.app.hydra_setup import register_for_jobs
from deepcluster.app.sweep.end import points_of, wanted_figure
from deepcluster.app.sweep.jobs import jobs_in
from deepcluster.app.sweep.overrides import values_by_key
from deepcluster.evaluation.clusters.alignment_table import N_SPANNING, spanning_seeds
from deepcluster.visualization.sweep_figure import SweepFigure, draw_figure, figure_table

ALIGNMENT, ALIGNMENT_TABLE = "initial_alignment.csv", "initial_alignment_table.csv"
DONE, LOG = "done.txt", "output.txt"  # in a task's folder: the command that has ended, and what it printed


@dataclass(frozen=True, kw_only=True)
class Task:
    """A figure, or several of the same runs.

    Args:
        name: of its folder.
        images: the folder of --data.
        words: of the command after its program, but for the images and the folder.
        figures: sweeps whose figures are made of its runs; empty: an evaluation of untrained networks.
        few: words that make it small without --gpu, and count where `words` has their keys too; None: it needs a GPU.
        seeds_of: the task whose networks' alignment the seeds shall span.
        paper: of an evaluation, the paper's values in words.
    """

    name: str
    images: str
    words: str
    figures: tuple[str, ...] = ()
    few: str | None = None
    seeds_of: str | None = None
    paper: str = ""


FEW = "data.limit=5000 trainer.max_epochs=5"
UNTRAINED = "evaluation=initial_alignment evaluation.start=kmeans++ evaluation.label_free=false evaluation.n_seeds=100"
CIFAR10_COLOURS = "view.mean=[0.4914,0.4822,0.4465] view.std=[0.247,0.243,0.261]"
LENET = f"{UNTRAINED} arch=lenet5_bn view=deepdive_32 evaluation.k=[5,20] evaluation.dim=[40]"
SMALL_ALEXNET = f"{UNTRAINED} arch=alexnet_small evaluation.dim=[256] view.size=32"
# A quarter of the filters and units. With dropout and a new head at each pass, 200 clusters taught it next to nothing
# in eight passes; so, in ten, 5.9 points of the probe (docs/papers.md).
QUARTER = "data.limit=5000 arch.channels=[12,32,48,48,32] arch.hidden=512 arch.feature_dim=512 arch.dropout=0"
FEW_CIFAR10 = (
    f"experiment=deepdive_cifar10 {QUARTER} trainer.max_epochs=5 reassign.epochs=2 optimizer.lr=0.05 clustering.k=50 "
    "evaluation.baselines=false evaluation.linear_probe.learning_rates=[0.1]"
)
TASKS = (  # worth most first
    Task(
        name="ia_fashion_mnist",
        images="fashion_mnist",
        words=LENET,
        few="data.limit=5000",
        paper="A Deep Dive into Deep Cluster, A.1: .37 to .41 at K = 5",
    ),
    Task(
        name="fig3_fashion_mnist",
        images="fashion_mnist",
        words="sweep=deepdive_fig3",
        figures=("deepdive_fig3",),
        few=FEW,
        seeds_of="ia_fashion_mnist",
    ),
    Task(
        name="fig4_fashion_mnist",
        images="fashion_mnist",
        words="sweep=deepdive_fig4",
        figures=("deepdive_fig4", "deepdive_fig6"),
        few=FEW,
    ),
    Task(
        name="starts_fashion_mnist",
        images="fashion_mnist",
        words="sweep=starts experiment=deepdive_fmnist",
        figures=("starts",),
        few=FEW,
    ),
    Task(
        name="fig5_fashion_mnist",
        images="fashion_mnist",
        words="sweep=deepdive_fig5 experiment=deepdive_fmnist reassign.halt_after=1,15,30,50 seed=1,2,3",
        figures=("deepdive_fig5",),
        few=f"{FEW} trainer.max_epochs=20 reassign.halt_after=1,3,5,10,20",
    ),
    Task(
        name="inits_fashion_mnist",
        images="fashion_mnist",
        words="sweep=deepdive_fig3 init=random,kmeans_patches,scatter seed=1,2,3",
        figures=("deepdive_fig3",),
        few=FEW,
    ),
    Task(
        name="noisy_labels_fashion_mnist",
        images="fashion_mnist",
        words="sweep=deepdive_fig3 targets=lookup,co_teaching targets.kept_share=0.8 targets.kept_ramp_epochs=10 "
        "seed=1,2,3",
        figures=("deepdive_fig3",),
        few=f"{FEW} targets.kept_ramp_epochs=2",
    ),
    *(
        Task(
            name=f"ia_{init}_fashion_mnist",
            images="fashion_mnist",
            words=f"{LENET} init={init}",
            few="data.limit=5000",
            paper=f"first filters by init={init}, which the paper leaves to others",
        )
        for init in ("kmeans_patches", "scatter")
    ),
    Task(
        name="ia_cifar10",
        images="cifar10",
        words=f"{SMALL_ALEXNET} {CIFAR10_COLOURS} evaluation.k=[10,200,2000]",
        few=f"{QUARTER} evaluation.k=[10,50]",
        paper="A Deep Dive into Deep Cluster, A.1: .065 to .085",
    ),
    Task(
        name="fig3_cifar10",
        images="cifar10",
        words="sweep=deepdive_fig3 experiment=deepdive_cifar10",
        figures=("deepdive_fig3",),
        few=FEW_CIFAR10,
        seeds_of="ia_cifar10",
    ),
    Task(
        name="fig4_cifar10",
        images="cifar10",
        words="sweep=deepdive_fig4 experiment=deepdive_cifar10 clustering.k=5,10,200,1000,2000,5000",
        figures=("deepdive_fig4", "deepdive_fig6"),
        few=f"{FEW_CIFAR10} clustering.k=5,10,50,200",
    ),
    Task(
        name="a3_cifar10",
        images="cifar10",
        words="sweep=deepdive_pca",
        figures=("deepdive_pca",),
        few=f"{FEW_CIFAR10} seed=1,2",
    ),
    Task(
        name="a2_cifar10",
        images="cifar10",
        words="sweep=deepdive_fig5",
        figures=("deepdive_fig5",),
        few=f"{FEW_CIFAR10} reassign.halt_after=1,2,null seed=1,2,3",
    ),
    Task(
        name="ia_svhn",
        images="svhn",
        words=f"{SMALL_ALEXNET} evaluation.k=[10,50,100,200,500]",
        paper="A Deep Dive into Deep Cluster, A.1: .04 to .16",
    ),
    Task(
        name="fig3_svhn",
        images="svhn",
        words="sweep=deepdive_fig3 experiment=deepdive_svhn",
        figures=("deepdive_fig3",),
        seeds_of="ia_svhn",
    ),
    Task(
        name="fig4_svhn",
        images="svhn",
        words="sweep=deepdive_fig4 experiment=deepdive_svhn clustering.k=5,10,20,200,1000",
        figures=("deepdive_fig4", "deepdive_fig6"),
    ),
)
SMALLEST = "data.limit=300 reading.batch_size=16"
SMALLEST_SWEEP = "trainer.max_epochs=1 evaluation.knn.k=5 evaluation.linear_probe.epochs=1"


def options() -> argparse.ArgumentParser:
    words = parser(__doc__)
    words.add_argument("--data", type=Path, metavar="DIR")
    words.add_argument("--gpu", action="store_true", help="the papers' sizes, on a CUDA device")
    words.add_argument("--only", nargs="+", choices=[task.name for task in TASKS], metavar="NAME")
    words.add_argument("--minutes", type=float, help="stop after so long")
    words.add_argument("--folder", type=Path, help="default: runs/papers/gpu, or runs/papers/cpu")
    words.add_argument("--table", action="store_true", help="only print what is there")
    words.add_argument("--smallest", action="store_true", help="everything tiny, to try the program")
    return words


def main(words: list[str] | None = None) -> int:
    arguments = options().parse_args(words)
    folder = arguments.folder or ROOT / "runs" / "papers" / ("gpu" if arguments.gpu else "cpu")
    if arguments.gpu and not (torch.cuda.is_available() or arguments.table):
        print("error: --gpu needs a CUDA device, and torch finds none", file=sys.stderr)
        return 1
    tasks = [task for task in tasks_for(gpu=arguments.gpu) if task.name in (arguments.only or [task.name])]
    if large := sorted({*(arguments.only or ())} - {task.name for task in tasks}):
        print(f"error: without --gpu leave out {', '.join(large)}, which no processor does in hours", file=sys.stderr)
        return 1
    if not arguments.table:
        if arguments.data is None:
            print("error: --data DIR names the folder of the sets", file=sys.stderr)
            return 1
        try:
            run_tasks(tasks, arguments, folder)
        except FileNotFoundError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except OutOfTime:
            print(f"stopped after {arguments.minutes:g} minutes; the same command goes on")
    for task in tasks:
        print("\n".join(told(task, folder / task.name)))
    return 0


def tasks_for(*, gpu: bool) -> list[Task]:
    """The tasks at the papers' sizes; without a GPU those that can be made small, with the words that do it."""
    return [task if gpu else replace(task, words=f"{task.words} {task.few}") for task in TASKS if gpu or task.few]


def run_tasks(tasks: Sequence[Task], arguments: argparse.Namespace, folder: Path) -> None:
    """Run what is not done yet.

    Raises:
        OutOfTime: when the minutes are over; what runs is stopped first.
    """
    deadline = Deadline(arguments.minutes)
    for task in tasks:
        place = arguments.data / task.images
        if not place.is_dir():
            print(f"{task.name} is left out: {place} is no folder")
            continue
        own, typed, done = folder / task.name, command(task, place, folder, arguments), folder / task.name / DONE
        if done.is_file() and done.read_text().startswith(typed):
            continue
        print(f"{task.name}: {typed}", flush=True)
        own.mkdir(parents=True, exist_ok=True)
        with deadline.stops():
            status = run_command(shlex.split(typed), own / LOG)
        if status == 0:
            done.write_text(f"{typed}\n{commit()}; {machine()}\n")
        else:
            print(f"{task.name} failed: {own / LOG}")


def command(task: Task, place: Path, folder: Path, arguments: argparse.Namespace) -> str:
    """What is typed for a task.

    Args:
        place: folder of its images.
        folder: of all tasks.

    Raises:
        FileNotFoundError: if its seeds need an evaluation that was not run.
    """
    kind = "parquet" if any(place.rglob("*.parquet")) else task.images
    words = [*task.words.split(), f"data={kind}", f"data.root={place}"]
    if task.seeds_of is not None:
        words.append(f"seed={','.join(map(str, seeds_spanning(folder / task.seeds_of)))}")
    if arguments.smallest:
        words += SMALLEST.split()
        words += first_two(task, words) + SMALLEST_SWEEP.split() if task.figures else ["evaluation.n_seeds=12"]
    program = "train.py" if task.figures else "eval.py"
    by_key = {word.partition("=")[0]: word for word in words}  # of a key that is given twice the later counts
    return shlex.join(["python", program, *by_key.values(), f"output_dir={folder / task.name}"])


def seeds_spanning(folder: Path) -> list[int]:
    """Seeds from the lowest to the highest alignment that an evaluation has found, at the K of the highest median."""
    if not (folder / ALIGNMENT).is_file():
        raise FileNotFoundError(f"{folder} has no {ALIGNMENT}: add {folder.name} to --only, it names the seeds")
    with (folder / ALIGNMENT).open(newline="") as file:
        rows = [
            {"seed": int(row["seed"]), "k": row["k"], "dim": row["dim"], "nmi": float(row["nmi"])}
            for row in csv.DictReader(file)
        ]
    pairs = dict.fromkeys((row["k"], row["dim"]) for row in rows)
    best = max(pairs, key=lambda pair: statistics.median(r["nmi"] for r in rows if (r["k"], r["dim"]) == pair))
    return spanning_seeds(rows, *best, N_SPANNING)


def first_two(task: Task, words: Sequence[str]) -> list[str]:
    """The first two values of each key that a sweep varies, its file's and the typed ones."""
    params = OmegaConf.load(CONFIGS / "sweep" / f"{task.figures[0]}.yaml").hydra.sweeper.params
    by_key = values_by_key([f"{key}={values}" for key, values in params.items()] + list(words), intervals=False)
    return [",".join([values[0], values[1].partition("=")[2]]) for values in by_key.values() if len(values) > 1]


def run_command(words: list[str], log: Path) -> int:
    """Its exit status. If the time is over, it is stopped so that it can go on."""
    with log.open("a") as file:
        process = subprocess.Popen(
            [sys.executable, *words[1:]], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            return process.wait()
        except BaseException:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise


def told(task: Task, folder: Path) -> Iterator[str]:
    """The task's figures in Markdown, as far as it got; their pictures are drawn in its folder."""
    if task.figures:
        points = points_of([job for job in jobs_in(folder) if job.done])
        for name in task.figures if len(points) > 1 else ():
            figure = figure_of_file(name, task)
            yield from ["", f"{task.name}: {figure.source}", "", *markdown(*figure_table(points, figure))]
            draw_figure(points, figure, folder / f"{name}.png")
            minutes = sum(point.numbers["seconds/this_process"] for point in points) / 60
            yield from ["", *[figure.claim] * bool(figure.claim), f"{minutes:.0f} minutes; {folder / name}.png"]
    elif (table := folder / ALIGNMENT_TABLE).is_file():
        with table.open(newline="") as file:
            rows = [[row["k"], row["dim"] or "none", row["n_seeds"], *_quartiles(row)] for row in csv.DictReader(file)]
        yield from [
            "",
            f"{task.name}: {task.paper}",
            "",
            *markdown(["K", "PCA", "networks", "median (quartiles)"], *rows),
        ]
    yield (folder / DONE).read_text() if (folder / DONE).is_file() else f"{task.name} is not finished"


def _quartiles(row: dict[str, str]) -> list[str]:
    return ["{:.3f} ({:.3f}, {:.3f})".format(*(float(row[f"nmi_{name}"]) for name in ("median", "q1", "q3")))]


def figure_of_file(name: str, task: Task) -> SweepFigure:
    """What a sweep's file says of its figure, for the task's experiment."""
    experiment = [word for word in task.words.split() if word.startswith("experiment=")][-1:]
    register_for_jobs()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        figure = wanted_figure(compose("train", [f"sweep={name}", *experiment], return_hydra_config=True))
    assert figure is not None
    return figure


def markdown(*rows: Sequence[str]) -> list[str]:
    """A table whose first row has the headings."""
    headings, *others = rows
    return [f"| {' | '.join(row)} |" for row in (headings, ["---"] * len(headings), *others)]


if __name__ == "__main__":
    sys.exit(main())
