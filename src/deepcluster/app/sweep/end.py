"""A sweep from its first job to its end: each job's note, then one table, one picture, and how to go on.

Hydra calls SweepTable (configs/train.yaml and eval.yaml, hydra.callbacks), for the jobs perhaps in other processes:
all that is printed comes from the notes in the jobs' folders. Again, from a sweep's folder:

    python -m deepcluster.app.sweep.end SWEEP
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from deepcluster.app.errors import sentence
from deepcluster.app.sweep.jobs import (
    JOB_FILE,
    SHARED,
    Job,
    identity,
    jobs_in,
    keys_and_values,
    note,
    register_for_jobs,
    without_hydra,
)
from deepcluster.app.sweep.words import expand, is_search, words
from deepcluster.settings.composed import as_dataclass
from deepcluster.system.threads import keep_to_cores, n_cores

PICTURE = "sweep.png"
OUTPUT = "output.log"  # in the folder of a job that has a process of its own
_open: list["SweepTable"] = []  # the sweep of this process, from its first job on


class SweepTable(Callback):
    """Notes how each job ends; knows what `tell_open_sweep` needs at the sweep's end."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.n_jobs: int | None = None  # a search's are not known
        self.process = os.getpid()
        self.n_cores = n_cores()
        self._output = ExitStack()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In another process, which has not run train.py: the resolvers of our config files are made known there."""
        self.__dict__ |= state
        register_for_jobs()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """From here on the sweep's end is told, whatever it is."""
        self.folder = Path(config.hydra.sweep.dir).absolute()
        self.n_jobs = None if is_search(config.hydra) else len(expand(words(config.hydra)))
        _open[:] = [self]
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # Lightning has its own while it trains
            signal.signal(signal.SIGTERM, _exit_as_terminated)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note that the job has begun; in a process of its own, keep its lines and its threads apart."""
        if config.hydra.mode != RunMode.MULTIRUN:
            return
        job = _job(config)
        job.ended = False
        note(job)
        if self.process == os.getpid():
            return
        # Jobs that run at once would write between each other's lines, and each would take all cores.
        at_once = jobs_at_once(config.hydra.launcher, self.n_jobs, self.n_cores)
        if at_once > 1:
            keep_to_cores(max(1, self.n_cores // at_once))
        self._output.enter_context(output_in(Path(job.folder)))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Note how it ended; the sweep's files grow with it."""
        if config.hydra.mode != RunMode.MULTIRUN:
            return
        job = _job(config)
        if job_return.status != JobStatus.COMPLETED:
            job.error = sentence(job_return._return_value)  # return_value would raise it
        note(job)
        if self.process == os.getpid():
            from deepcluster.app.sweep.table import ordered, write

            sweep = Path(config.hydra.sweep.dir)
            write(ordered(jobs_in(sweep)), sweep)
            return
        self._output.close()
        how = "done" if job.error is None else f"failed: {job.error}"
        print(f"job {job.number:<6} {how}; {Path(job.folder) / OUTPUT}", flush=True)


def _exit_as_terminated(*_: Any) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _job(config: DictConfig) -> Job:
    hydra = config.hydra
    job = Job(
        number=int(hydra.job.num),
        folder=str(hydra.runtime.output_dir),
        overrides=keys_and_values(list(hydra.overrides.task)),
        evaluation=hydra.runtime.choices.get("evaluation"),
    )
    if hydra.job.config_name == "train":
        with suppress(ValueError):  # the job itself will tell it
            settings = as_dataclass(without_hydra(config))
            job.settings = identity(OmegaConf.structured(settings))
            job.store_dtype = settings.extraction.store_dtype
    return job


def jobs_at_once(launcher: DictConfig, n_jobs: int | None, n_cores: int) -> int:
    """How many jobs of this machine run side by side, as far as the launcher decides it.

    Args:
        launcher: hydra.launcher.
        n_jobs: of the whole sweep, if known.
        n_cores: of the machine.
    """
    target = str(launcher["_target_"])
    if target.endswith("JoblibLauncher"):  # below 0: all cores but so many, as joblib counts
        asked = int(launcher.n_jobs)
        at_once = asked if asked > 0 else max(1, n_cores + 1 + asked)
        return min(at_once, n_jobs or at_once)
    if target.endswith("LocalLauncher"):  # submitit starts all of them
        return n_jobs or 1
    return 1


@contextmanager
def output_in(folder: Path) -> Iterator[None]:
    """What is printed meanwhile, by this process and those it starts, goes to the folder's output.log."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    file = os.open(folder / OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.close(file)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, whole in zip((1, 2), kept, strict=True):
            os.dup2(whole, stream)
            os.close(whole)


# The end -----------------------------------------------------------------------------------------------------------


def tell_open_sweep(how_to_go_on: Callable[[Path], str]) -> None:
    """Print the end of the sweep that this process has begun, if any: also after failures and stops.

    Args:
        how_to_go_on: the command for the jobs that are not done, given the sweep's folder.
    """
    while _open:
        sweep = _open.pop()
        assert sweep.folder is not None
        jobs = jobs_in(sweep.folder)
        if not jobs:
            continue
        tell_end(jobs, sweep.folder, n_jobs=sweep.n_jobs)
        if all(job.done for job in jobs) and len(jobs) >= (sweep.n_jobs or 0):
            shutil.rmtree(sweep.folder / SHARED, ignore_errors=True)
        else:
            print(f"go on      {how_to_go_on(sweep.folder)}", flush=True)


def tell_end(jobs: list[Job], folder: Path, *, n_jobs: int | None = None) -> None:
    """Print the table; write results.csv, results.json, and the picture of runs of train.py.

    Args:
        n_jobs: how many the sweep was to have, if known.
    """
    from deepcluster.app.sweep.table import ordered, tell, write
    from deepcluster.visualization.sweep_plot import Point, draw

    jobs = ordered(jobs)
    write(jobs, folder)
    tell(jobs, folder, n_jobs=n_jobs)
    points = [Point(values=job.overrides, numbers=job.numbers) for job in jobs if job.done and job.evaluation is None]
    if len(points) < 2:
        return
    try:
        if draw(points, folder / PICTURE):
            print(f"picture    {folder / PICTURE}", flush=True)
    except ImportError as error:
        print(f"no picture: {error}", flush=True)


def main(arguments: list[str]) -> None:
    """Print a sweep's end again from its folder."""
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        raise SystemExit("error: give the folder of one sweep, as in python -m deepcluster.app.sweep.end SWEEP")
    jobs = jobs_in(Path(arguments[0]))
    if not jobs:
        raise SystemExit(f"error: {arguments[0]} holds no jobs (*/{JOB_FILE})")
    tell_end(jobs, Path(arguments[0]))


if __name__ == "__main__":
    main(sys.argv[1:])
