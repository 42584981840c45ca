"""train.py's work, once Hydra has composed a config: settings, the run in its folder, the number for a search.

Next: run/train.py, the run itself.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch.distributed
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from deepcluster.app.mistyped import config_flags
from deepcluster.app.run_failure import is_sweep, report_failure
from deepcluster.app.sweep.jobs import SHARED
from deepcluster.app.sweep.overrides import is_search, name_and_group
from deepcluster.app.sweep.same_job import is_finished
from deepcluster.run.checkpoint_choice import checkpoints
from deepcluster.run.train import train
from deepcluster.settings.resume import new_or_resumed_config
from deepcluster.settings.stored import read_stored_config
from deepcluster.settings.train import TrainConfig
from deepcluster.system import distributed
from deepcluster.system.allocator import keep_freed_memory
from deepcluster.system.atomic import locked
from deepcluster.system.first_failure import FirstFailure
from deepcluster.system.leftover import STARTED_BY
from deepcluster.system.program import first_words, program
from deepcluster.system.quoting import argument, override


def train_from_command_line(cfg: DictConfig) -> float | None:
    """One run of train.py. A failure is raised in a sweep; a single run ends with one line and exit status 1.

    A job of a sweep whose folder holds its finished run is not repeated; a job that was stopped goes on.

    Returns:
        What a search maximises: the trained network's `objective`, None where it cannot be measured.
    """
    keep_freed_memory()
    hydra_cfg = HydraConfig.get()
    folder = Path(hydra_cfg.runtime.output_dir)
    overrides = list(hydra_cfg.overrides.task)
    first_failure = FirstFailure(folder)
    with (
        report_failure(folder, "train", how_to_resume),
        # No second run may write to the folder meanwhile. Of several processes only the first writes and locks it.
        locked(folder) if distributed.is_main_process() else nullcontext(),
        own_process_group(overrides, folder),
        first_failure.one_reports(),
    ):
        settings = new_or_resumed_config(cfg, overrides)
        shared_folder = None
        if is_sweep():
            shared_folder = Path(hydra_cfg.sweep.dir) / SHARED
            if is_finished(folder, settings):
                print(f"sweep      job {hydra_cfg.job.num} was done before", flush=True)
                return _objective(json.loads((folder / "summary.json").read_text()), settings.objective)
            if (folder / "config.yaml").is_file():  # of these settings: same_job.job_folder chose the folder
                settings = _continued(settings, folder)
        settings = replace(settings, logger=settings.logger.named(*name_and_group(hydra_cfg, folder)))
        searched = settings.objective if is_sweep() and is_search(hydra_cfg) else None
        summary = train(settings, folder, follow=first_failure.follow, shared=shared_folder, searched=searched)
        value = _objective(summary, settings.objective)
        if searched is not None and value is None and summary:
            raise ValueError(
                f"objective={searched} could not be measured: an accuracy needs labels of two classes and "
                "evaluation.knn.k labelled images; objective=nmi_previous needs no labels"
            )
        return value


def _continued(settings: TrainConfig, folder: Path) -> TrainConfig:
    """The settings of a stopped job of a sweep, with the store type and the K that its first start chose."""
    stored = read_stored_config(folder / "config.yaml")
    extraction = replace(settings.extraction, store_dtype=stored.extraction.store_dtype)
    clustering = settings.clustering
    if clustering.chooses_k:
        clustering = replace(clustering, k=stored.clustering.k)  # type: ignore[call-arg]
    return replace(settings, resume=str(folder), extraction=extraction, clustering=clustering)


def _objective(summary: dict[str, Any], name: str) -> float | None:
    """The number that a search maximises; None after estimate=true, and where it was not measured."""
    value = summary["trained"][name] if summary else None
    return None if value is None else float(value)


def how_to_resume(folder: Path) -> str:
    """What follows the word "stopped" in a single run."""
    resume = f"{program('train')} {argument('resume', folder)}"
    if checkpoints(folder):
        return f"; continue with: {resume}"
    has_begun = (folder / "config.yaml").is_file()
    return ", before its first checkpoint" + (f"; begin again with: {resume}" if has_begun else "")


@contextmanager
def own_process_group(overrides: list[str], folder: Path) -> Iterator[None]:
    """Let Lightning's child processes run this job and not the whole sweep; clean up before the next job.

    Lightning starts the other processes of a run on several devices with this process's ``sys.argv``.
    """
    argv, has_failed = sys.argv, True
    names = (STARTED_BY, "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    before = {name: os.environ.get(name) for name in names}
    os.environ[STARTED_BY] = str(os.getpid())
    # hydra.mode: sweep=NAME among the overrides would start the sweep again
    of_hydra = ["hydra.mode=RUN", override("hydra.run.dir", str(folder)), "hydra.output_subdir=null"]
    sys.argv = [argv[0], *first_words("train"), *config_flags(argv[1:]), *overrides, *of_hydra]
    try:
        yield
        has_failed = False
    finally:
        sys.argv = argv
        # After a failure other processes may still wait in the group, and closing it would wait for them: it is closed
        # only in a sweep, whose next job needs a new one.
        closes = not has_failed or is_sweep()
        if closes and torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
