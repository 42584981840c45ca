"""What is refused before a run has a folder and a sweep its first job, and what a sweep finds in its folder.

Hydra calls it (configs/train.yaml and eval.yaml, hydra.callbacks). Next: command_line.py does each job.
"""

import importlib.util
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from deepcluster.app import command_line
from deepcluster.app.sweep import jobs as sweep_jobs
from deepcluster.app.sweep import study as sweep_study
from deepcluster.app.sweep.words import candidates, expand, is_search, words
from deepcluster.settings import train as config
from deepcluster.settings.eval import eval_settings
from deepcluster.settings.resume import train_settings
from deepcluster.system import distributed

BASIC = ("BasicSweeper", "BasicLauncher")  # Hydra's own, always there


class CheckConfig(Callback):
    """Refuses keys and values that are not possible before there is a folder, and a sweep before its first job."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Turn the one job's config into settings."""
        try:
            _check(config, list(config.hydra.overrides.task), config.hydra.job.config_name)
        except Exception as error:  # Hydra would only warn of it and go on
            command_line.refuse_on_all(error)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Compose every job's config and turn it into settings; say what the sweep's folder holds of them.

        Of a search (hydra/sweeper=optuna), whose jobs nobody knows yet: each value alone, and the ends of intervals.
        """
        job: list[str] = []
        jobs, settings = [], []
        try:
            if distributed.starter() == "torchrun" and distributed.n_started() > 1:
                raise ValueError("-m cannot be started by torchrun; trainer=ddp starts each job's processes itself")
            check_plugins(config.hydra)
            searched = is_search(config.hydra)
            for job in (candidates if searched else expand)(words(config.hydra)):
                if any(override.startswith("resume=") for override in job):
                    raise ValueError("resume= continues one run in its folder; leave out -m")
                name = config.hydra.job.config_name
                jobs.append(job)
                settings.append(_check(compose(name, overrides=job, return_hydra_config=True), job, name))
            job = []
            if searched:
                _check_objective(settings)
                sweep_study.prepare(config.hydra, settings)
            elif config.hydra.job.config_name == "train":
                _check_all_differ(jobs, settings)
        except Exception as error:
            command_line.refuse_on_all(error, "no job was started: " + (f"{' '.join(job)}: " if job else ""))
        if not searched and config.hydra.job.config_name == "train":
            _tell_found(Path(config.hydra.sweep.dir), settings)


def check_plugins(hydra: DictConfig) -> None:
    """Refuse a launcher or sweeper whose package is not installed.

    Raises:
        ImportError: naming the extra.
    """
    for part in ("launcher", "sweeper"):
        target = str(hydra[part]["_target_"])
        if not target.endswith(BASIC) and importlib.util.find_spec(".".join(target.split(".")[:2])) is None:
            chosen = hydra.runtime.choices[f"hydra/{part}"]
            raise ImportError(f"hydra/{part}={chosen} needs an extra: pip install -e '.[sweep]'")


def _check(cfg: DictConfig, overrides: list[str], config_name: str) -> Any:
    """One job's settings.

    Raises:
        Exception: whatever Hydra, OmegaConf or the settings refuse.
    """
    job = sweep_jobs.without_hydra(cfg)
    if config_name != "train":
        return eval_settings(job, overrides)
    if job.resume is not None:
        config.run_folder(job.resume, None, "")
    return train_settings(job, overrides)


def _check_objective(settings: list[Any]) -> None:
    for job in settings:
        if not isinstance(job, config.TrainConfig):
            raise ValueError("only train.py returns a number to search by; leave out hydra/sweeper=")
        if job.objective.endswith("accuracy") and not job.evaluation.enabled:
            raise ValueError(
                f"objective={job.objective} is not measured with evaluation.enabled=false; "
                "objective=nmi_labels or nmi_previous is"
            )


def _check_all_differ(jobs: list[list[str]], settings: list[config.TrainConfig]) -> None:
    """The second of two jobs with the same settings would be told with what the first one found.

    Raises:
        ValueError: naming what differs, such as the logger, which changes no result.
    """
    known: dict[str, list[str]] = {}
    for job, own in zip(jobs, settings, strict=True):
        first = known.setdefault(sweep_jobs.identity(OmegaConf.structured(own)), job)
        if first is not job:
            two = [" ".join(word for word in one if word not in other) for one, other in ((first, job), (job, first))]
            same = f"{two[0]} and {two[1]} are" if any(two) else f"{' '.join(job)} twice is"
            raise ValueError(
                f"{same} one job, which a sweep runs once; leave one out, or give each a sweep of its own (output_dir=)"
            )


def _tell_found(sweep: Path, settings: list[config.TrainConfig]) -> None:
    """One line about the jobs that the folder holds, if it holds any."""
    held = {number: folder for number, job in enumerate(settings) if (folder := sweep_jobs.find(sweep, job))}
    n_done = sum(sweep_jobs.finished(folder, settings[number]) for number, folder in held.items())
    n_others = len({file.parent for file in sweep.glob(f"*/{sweep_jobs.JOB_FILE}")} - set(held.values()))
    if held or n_others:
        told = f"{n_done} of {len(settings)} jobs are done there, {len(held) - n_done} go on where they stopped"
        others = f"; left as they are, with other settings: {n_others}" if n_others else ""
        print(f"sweep      {sweep}: {told}, {len(settings) - len(held)} are new{others}", flush=True)
