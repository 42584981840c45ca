"""train.py's work, once Hydra has composed a config: settings, the run in its folder, what a search maximises.

Next: run/train.py, the run itself.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch.distributed
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from deepcluster.app.run_failure import is_sweep, told_in_one_line, unsaid
from deepcluster.app.sweep.jobs import SHARED, finished
from deepcluster.app.sweep.words import name_and_group
from deepcluster.run.checkpoint_choice import checkpoints
from deepcluster.run.train import train as run
from deepcluster.settings.resume import new_or_resumed_config
from deepcluster.settings.stored import read_stored_config
from deepcluster.settings.train import TrainConfig
from deepcluster.system import distributed
from deepcluster.system.atomic import held
from deepcluster.system.first_failure import FirstFailure
from deepcluster.system.quoting import argument


def train(cfg: DictConfig) -> float | None:
    """One run of train.py. In a sweep a failure is raised, in a single run it is one line and exit status 1.

    A job of a sweep that was done before, in the same folder, is not repeated; one that was stopped goes on.

    Returns:
        What a search maximises: the trained network's `objective`, None where it cannot be measured.
    """
    hydra_cfg = HydraConfig.get()
    folder = Path(hydra_cfg.runtime.output_dir)
    overrides = list(hydra_cfg.overrides.task)
    how_to_go_on = unsaid if is_sweep() else how_to_resume
    first = FirstFailure(folder)
    with (
        told_in_one_line(folder, how_to_go_on),
        _kept_to_this_run(folder),
        own_process_group(overrides, folder),
        first.one_speaks(),
    ):
        settings = new_or_resumed_config(cfg, overrides)
        shared = None
        if is_sweep():
            shared = Path(hydra_cfg.sweep.dir) / SHARED
            if finished(folder, settings):
                print(f"sweep      job {hydra_cfg.job.num} was done before", flush=True)
                return _objective(json.loads((folder / "summary.json").read_text()), settings.objective)
            if (folder / "config.yaml").is_file():  # of these settings, or jobs.job_folder had not chosen it
                settings = _going_on(settings, folder)
        settings = replace(settings, logger=settings.logger.named(*name_and_group(hydra_cfg, folder)))
        return _objective(run(settings, folder, follow=first.follow, shared=shared), settings.objective)


def _going_on(settings: TrainConfig, folder: Path) -> TrainConfig:
    """A sweep's job that was stopped: its settings, with what its first start has chosen."""
    store_dtype = read_stored_config(folder / "config.yaml").extraction.store_dtype
    return replace(settings, resume=str(folder), extraction=replace(settings.extraction, store_dtype=store_dtype))


def _objective(summary: dict[str, Any], name: str) -> float | None:
    """What a search maximises; None after estimate=true, and where it was not measured."""
    value = summary["trained"][name] if summary else None
    return None if value is None else float(value)


def how_to_resume(folder: Path) -> str:
    """What follows "stopped" in a single run."""
    resume = f"python train.py {argument('resume', folder)}"
    if checkpoints(folder):
        return f"; continue with: {resume}"
    begun = (folder / "config.yaml").is_file()
    return ", before its first checkpoint" + (f"; begin again with: {resume}" if begun else "")


def _kept_to_this_run(folder: Path) -> AbstractContextManager[None]:
    """No second run writes to the folder meanwhile; of several processes only the first writes, and holds it."""
    return held(folder) if distributed.is_main_process() else nullcontext()


@contextmanager
def own_process_group(overrides: list[str], folder: Path) -> Iterator[None]:
    """Let Lightning's child processes repeat this job and not the whole sweep, and leave nothing to the next job.

    Lightning starts the other processes of a run on several devices with this process's ``sys.argv``.
    """
    argv, failed = sys.argv, True
    names = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    before = {name: os.environ.get(name) for name in names}
    one = ["hydra.mode=RUN", f"hydra.run.dir={str(folder)!r}", "hydra.output_subdir=null"]  # also of sweep=NAME
    sys.argv = [argv[0], *overrides, *one]
    try:
        yield
        failed = False
    finally:
        sys.argv = argv
        # After a failure the others may wait in it, and its end would wait for them: only a sweep goes on after that.
        ends = not failed or is_sweep()
        if ends and torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
