"""The end of a sweep: one table, one picture, and how to go on; until then each job's state goes to its job.json.

Hydra calls SweepTable (configs/train.yaml and eval.yaml, hydra.callbacks). A sweep's file may say which figure of a
paper it repeats: hydra.callbacks.sweep_table.figure, the arguments of SweepFigure (visualization/sweep_figure.py). Jobs
may run in other processes, so all that is printed comes from the files in their folders. To print it again:

    python -m deepcluster.app.sweep.end SWEEP
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from deepcluster.app.errors import message_for_user
from deepcluster.app.hydra_setup import register_for_jobs
from deepcluster.app.sweep.jobs import JOB_FILE, SHARED, Job, jobs_in, keys_and_values, write_job
from deepcluster.app.sweep.overrides import expand_jobs, is_search, sweep_overrides
from deepcluster.app.sweep.same_job import identity, without_hydra
from deepcluster.settings.composed import as_dataclass
from deepcluster.system import stop_signals
from deepcluster.system.tables import aligned, write_csv
from deepcluster.system.threads import keep_to_cores, n_cores

if TYPE_CHECKING:  # a single run needs none of it
    from deepcluster.visualization.sweep_figure import SweepFigure
    from deepcluster.visualization.sweep_plot import Point

PICTURE = "sweep.png"
TABLE = "figure.csv"
OUTPUT = "output.log"  # in the folder of a job that runs in another process
_open: list[SweepTable] = []  # the sweep that this process has begun and not yet reported; at most one


class SweepTable(Callback):
    """Writes each job's state; holds what `report_open_sweep` needs.

    Args:
        figure: what :func:`wanted_figure` reads once the whole config is known.
    """

    def __init__(self, figure: Any = None) -> None:
        self.figure: SweepFigure | None = None
        self.folder: Path | None = None
        self.n_jobs: int | None = None  # None: a search, whose jobs are not known
        self.process = os.getpid()
        self.n_cores = n_cores()
        self._output = ExitStack()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpickle in another process, where nobody has called `register` of hydra_setup.py."""
        self.__dict__ |= state
        register_for_jobs()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Open the sweep: it is reported however it ends."""
        self.folder = Path(config.hydra.sweep.dir).absolute()
        self.figure = wanted_figure(config)
        self.n_jobs = None if is_search(config.hydra) else len(expand_jobs(sweep_overrides(config.hydra)))
        _open[:] = [self]
        stop_signals.begin_work()

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note that the job has begun; in another process, give it its own output file and its share of cores."""
        if config.hydra.mode != RunMode.MULTIRUN:
            return
        job = _job(config)
        job.ended = False
        write_job(job)
        if self.process == os.getpid():
            return
        # Jobs that run at once would write between each other's lines, and each would take all cores.
        at_once = jobs_at_once(config.hydra.launcher, self.n_jobs, self.n_cores)
        if at_once > 1:
            keep_to_cores(max(1, self.n_cores // at_once))
        self._output.enter_context(redirect_output(Path(job.folder)))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Note how the job ended and write the sweep's tables anew."""
        if config.hydra.mode != RunMode.MULTIRUN:
            return
        job = _job(config)
        if job_return.status != JobStatus.COMPLETED:
            job.error = message_for_user(job_return._return_value)  # return_value would raise it
        write_job(job)
        if self.process == os.getpid():
            from deepcluster.app.sweep.table import sort_jobs, write_results

            sweep = Path(config.hydra.sweep.dir)
            write_results(sort_jobs(jobs_in(sweep)), sweep)
            return
        self._output.close()
        how = "done" if job.error is None else f"failed: {job.error}"
        print(f"job {job.number:<6} {how}; {Path(job.folder) / OUTPUT}", flush=True)


def wanted_figure(config: DictConfig) -> SweepFigure | None:
    """The figure of a paper that a sweep repeats, by its config; None: none.

    Of another experiment than the paper's there are no values to compare with.

    Raises:
        ValueError: if the sweep's file names an impossible one.
    """
    asked = OmegaConf.select(config, "hydra.callbacks.sweep_table.figure")
    if asked is None:
        return None
    from deepcluster.visualization.sweep_figure import SweepFigure

    arguments: Any = OmegaConf.to_container(asked, resolve=True)
    figure = SweepFigure(**arguments)
    if figure.experiment not in ("", OmegaConf.select(config, "hydra.runtime.choices.experiment")):
        figure.paper = {}
    return figure


def _job(config: DictConfig) -> Job:
    hydra = config.hydra
    job = Job(
        number=int(hydra.job.num),
        folder=str(hydra.runtime.output_dir),
        overrides=keys_and_values(list(hydra.overrides.task)),
        evaluation=hydra.runtime.choices.get("evaluation"),
    )
    if hydra.job.config_name == "train":
        with suppress(ValueError):  # the job itself reports it
            settings = as_dataclass(without_hydra(config))
            job.settings = identity(OmegaConf.structured(settings))
            job.store_dtype = settings.extraction.store_dtype
            job.chooses_k = settings.clustering.chooses_k
    return job


def jobs_at_once(launcher: DictConfig, n_jobs: int | None, n_cores: int) -> int:
    """How many jobs the launcher runs at once on this machine.

    Args:
        launcher: hydra.launcher.
        n_jobs: of the whole sweep; None if unknown.
        n_cores: of the machine.
    """
    target = str(launcher["_target_"])
    if target.endswith("JoblibLauncher"):  # -1: all cores, -2: all but one, as joblib counts
        setting = int(launcher.n_jobs)
        at_once = setting if setting > 0 else max(1, n_cores + 1 + setting)
        return min(at_once, n_jobs or at_once)
    if target.endswith("LocalLauncher"):  # submitit starts all of them
        return n_jobs or 1
    return 1


@contextmanager
def redirect_output(folder: Path) -> Iterator[None]:
    """Send what this process and its children print to output.log in the folder."""
    sys.stdout.flush()
    sys.stderr.flush()
    originals = os.dup(1), os.dup(2)
    file = os.open(folder / OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.close(file)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, original in zip((1, 2), originals, strict=True):
            os.dup2(original, stream)
            os.close(original)


# The end -----------------------------------------------------------------------------------------------------------


def report_open_sweep(how_to_go_on: Callable[[Path], str]) -> None:
    """Print the end of the sweep that this process has begun, if any, also after failures and stops.

    Args:
        how_to_go_on: the sweep's folder -> the command for the jobs that are not done.
    """
    while _open:
        sweep = _open.pop()
        assert sweep.folder is not None
        jobs = jobs_in(sweep.folder)
        if not jobs:
            continue
        report_sweep(jobs, sweep.folder, sweep.figure, n_jobs=sweep.n_jobs)
        if all(job.done for job in jobs) and len(jobs) >= (sweep.n_jobs or 0):
            shutil.rmtree(sweep.folder / SHARED, ignore_errors=True)
        else:
            print(f"go on      {how_to_go_on(sweep.folder)}", flush=True)


def report_sweep(
    jobs: list[Job], folder: Path, figure: SweepFigure | None = None, *, n_jobs: int | None = None
) -> None:
    """Print the tables; write results.csv, results.json and a picture: of the runs, or those of evaluations joined.

    Args:
        figure: the figure of a paper that the sweep repeats; its table is figure.csv.
        n_jobs: how many jobs the sweep should have; None if unknown.
    """
    from deepcluster.app.sweep.table import print_results, sort_jobs, write_results
    from deepcluster.visualization.sweep_figure import figure_table

    jobs = sort_jobs(jobs)
    write_results(jobs, folder)
    print_results(jobs, folder, n_jobs=n_jobs)
    points = points_of(jobs)
    if figure is not None and len(points) > 1:
        headings, *rows = figure_table(points, figure)
        write_csv(folder / TABLE, headings, rows)
        lines = aligned([headings, *rows], n_left=len(headings))
        print("\n".join(line for line in (figure.source, *lines, figure.claim) if line), flush=True)
    try:
        for file in _pictures(jobs, points, figure, folder):
            print(f"picture    {file}", flush=True)
    except ImportError as error:
        print(f"no picture: {error}", flush=True)


def _pictures(jobs: list[Job], points: list[Point], figure: SweepFigure | None, folder: Path) -> list[Path]:
    """Draw the runs of train.py, or put the pictures of one evaluation side by side."""
    from deepcluster.app.sweep.table import differing_keys, job_name
    from deepcluster.visualization.side_by_side import side_by_side
    from deepcluster.visualization.sweep_figure import draw_figure
    from deepcluster.visualization.sweep_plot import draw

    file = folder / PICTURE
    if len(points) > 1:
        return [file] * (draw(points, file) if figure is None else draw_figure(points, figure, file))
    keys = differing_keys(jobs)
    return side_by_side({job_name(job, keys): Path(job.folder) for job in jobs if job.done and job.evaluation}, folder)


def points_of(jobs: list[Job]) -> list[Point]:
    """The finished runs of train.py."""
    from deepcluster.visualization.sweep_plot import Point

    return [Point(values=job.overrides, numbers=job.numbers) for job in jobs if job.done and job.evaluation is None]


def figure_of(folder: Path) -> SweepFigure | None:
    """The figure that the sweep in a folder repeats, by the config that Hydra keeps there; None: none."""
    file = folder / "multirun.yaml"
    return wanted_figure(cast(DictConfig, OmegaConf.load(file))) if file.is_file() else None


def main(arguments: list[str]) -> None:
    """Print a sweep's end again from its folder."""
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        raise SystemExit("error: give the folder of one sweep, as in python -m deepcluster.app.sweep.end SWEEP")
    folder = Path(arguments[0])
    jobs = jobs_in(folder)
    if not jobs:
        raise SystemExit(f"error: {folder} holds no jobs (*/{JOB_FILE})")
    report_sweep(jobs, folder, figure_of(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
