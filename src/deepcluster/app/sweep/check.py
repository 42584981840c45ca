"""Checks all settings before a run makes its folder or a sweep its first job; says what a sweep's folder holds.

Hydra calls CheckConfig (configs/train.yaml and eval.yaml, hydra.callbacks). Next: train_command.py or eval_command.py
does each job.
"""

import importlib.util
import logging
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict

from deepcluster.app.default_experiment import LOOP_OF_2018, SETS_MORE, WORD
from deepcluster.app.errors import exit_everywhere_with_error, user_errors
from deepcluster.app.sweep.end import wanted_figure
from deepcluster.app.sweep.jobs import JOB_FILE
from deepcluster.app.sweep.overrides import candidate_jobs, expand_jobs, is_search, sweep_overrides
from deepcluster.app.sweep.same_job import find_job_folder, identity, is_finished, without_hydra
from deepcluster.settings.eval import EvalConfig, eval_config, images_meant
from deepcluster.settings.resume import new_or_resumed_config
from deepcluster.settings.run_folder import check_apart, make_folder, remove_unused, run_folder
from deepcluster.settings.train import TrainConfig
from deepcluster.system import distributed, stop_signals
from deepcluster.system.atomic import locked
from deepcluster.system.extras import install_extra
from deepcluster.system.quoting import override
from deepcluster.system.seeding import mix
from deepcluster.system.setting import checked_path

BUILT_IN = ("BasicSweeper", "BasicLauncher")  # part of Hydra


class CheckConfig(Callback):
    """Refuses impossible keys and values before a run makes its folder or a sweep its first job."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check a single run."""
        try:
            _refuse_chdir(config.hydra)
            settings = _settings(config, list(config.hydra.overrides.task), config.hydra.job.config_name)
            if isinstance(settings, TrainConfig):
                _refuse_missing_gpu(settings.trainer)
            if not take_new_folder(config, "run"):
                _check_folder(config.hydra.run.dir, OmegaConf.select(config, "resume"), settings)
        except Exception as error:  # Hydra would only warn of it and go on
            exit_everywhere_with_error(error)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check every job of a sweep; say which of them the sweep's folder holds already.

        The jobs of a search (hydra/sweeper=optuna) are not known yet: each value and the ends of intervals are checked.
        """
        hydra, name = config.hydra, config.hydra.job.config_name
        job: list[str] = []
        jobs, settings = [], []
        try:
            if distributed.starter() == "torchrun" and distributed.n_started() > 1:
                raise ValueError("-m cannot be started by torchrun; trainer=ddp starts each job's processes itself")
            check_plugins(hydra)
            wanted_figure(config)
            _refuse_chdir(hydra)
            for job in (candidate_jobs if is_search(hydra) else expand_jobs)(sweep_overrides(hydra)):
                if any(override.startswith("resume=") for override in job):
                    raise ValueError(
                        "resume= continues one run in its folder: leave out -m. A stopped sweep goes on by its own "
                        "command with output_dir=SWEEP"
                    )
                jobs.append(job)
                settings.append(_settings(compose(name, overrides=job, return_hydra_config=True), job, name))
            job = []
            if is_search(hydra):
                _check_objective(settings)
            elif name == "train":
                check_all_differ(jobs, settings)
            if not take_new_folder(config, "sweep"):
                _check_apart(hydra.sweep.dir, settings[0])
            if is_search(hydra):
                _continue_study(hydra, settings[0].objective)
        except Exception as error:
            exit_everywhere_with_error(error, "no job was started: " + (f"{' '.join(job)}: " if job else ""))
        if not is_search(hydra) and name == "train":
            _say_what_is_done(Path(hydra.sweep.dir), settings)


def take_new_folder(config: DictConfig, mode: str) -> bool:
    """Make the new folder that hydra.run.dir or hydra.sweep.dir names by the time, for this process alone.

    Args:
        config: the composed config; its folder becomes the one that is made.
        mode: "run" or "sweep".

    Returns:
        False if the user has named a folder.
    """
    hydra = config.hydra
    raw = str(OmegaConf.to_container(hydra[mode], resolve=False)["dir"])  # type: ignore[call-overload,index]
    if not raw.startswith("${run_folder:") or config.output_dir is not None or OmegaConf.select(config, "resume"):
        return False
    folder = distributed.agreed_folder(str(hydra[mode].dir), make_folder)
    stop_signals.before_ending(lambda: remove_unused(Path(folder)))
    with open_dict(hydra):
        hydra[mode].dir = folder
        if mode == "sweep":  # Hydra composes the jobs from these words
            hydra.overrides.hydra.append(override("hydra.sweep.dir", folder))
    return True


def _check_folder(typed: str, resume: str | None, settings: TrainConfig | EvalConfig) -> None:
    """Refuse a folder in which this run cannot be, before Hydra writes its files there."""
    folder = Path(checked_path("hydra.run.dir", typed))
    if resume is not None and folder.resolve() != Path(resume).resolve():
        raise ValueError(f"hydra.run.dir={folder}: resume={resume} goes on in that run's own folder; leave one out")
    if resume is None:
        run_folder(None, str(folder), "")
        _check_apart(typed, settings)
    if folder.is_dir() and distributed.is_main_process():
        with locked(folder):  # the run itself locks it for long
            pass


def _check_apart(folder: str, settings: TrainConfig | EvalConfig) -> None:
    check_apart(folder, images_meant(settings) if isinstance(settings, EvalConfig) else settings.data)


def _refuse_chdir(hydra: DictConfig) -> None:
    if hydra.job.chdir:
        raise ValueError(
            "hydra.job.chdir=true: paths are meant from the folder where the command is typed, so a run stays there; "
            "leave it out, all files of a run go to its folder anyway"
        )


def _refuse_missing_gpu(trainer: dict[str, Any]) -> None:
    """Here and not with the settings: the jobs of a sweep may run on other machines."""
    asked = trainer.get("accelerator", "auto")
    if asked not in ("gpu", "cuda", "mps"):
        return
    from deepcluster.run.parts import choose_device  # loads torch

    if choose_device(trainer).type == "cpu":
        raise ValueError(
            f"trainer.accelerator={asked}: torch finds no such device on this machine; leave trainer=gpu out to take "
            "what is there, or set trainer=cpu"
        )


def check_plugins(hydra: DictConfig) -> None:
    """Refuse a launcher or sweeper whose package is not installed.

    Raises:
        ImportError: with the extra that installs it.
    """
    for part in ("launcher", "sweeper"):
        target = str(hydra[part]["_target_"])
        if not target.endswith(BUILT_IN) and importlib.util.find_spec(".".join(target.split(".")[:2])) is None:
            chosen = hydra.runtime.choices[f"hydra/{part}"]
            raise ImportError(f"hydra/{part}={chosen} needs an extra: {install_extra('sweep')}")


def _settings(cfg: DictConfig, overrides: list[str], config_name: str) -> Any:
    """One job's settings, all checked."""
    job = without_hydra(cfg)
    if config_name != "train":
        return eval_config(job, overrides)
    if job.resume is not None:
        run_folder(job.resume, None, "")
    try:
        return new_or_resumed_config(job, overrides)
    except ValueError as error:
        if _loop_of_2018_takes(overrides, config_name):
            raise ValueError(f"{error}. {SETS_MORE}") from error
        raise


def _loop_of_2018_takes(overrides: list[str], config_name: str) -> bool:
    """Whether a job is possible with the loop of 2018 in place of the default experiment."""
    if WORD not in overrides:
        return False
    words = [*(word for word in overrides if word != WORD), LOOP_OF_2018]
    try:
        new_or_resumed_config(compose(config_name, overrides=words), words)
    except user_errors():
        return False
    return True


def check_all_differ(jobs: list[list[str]], settings: list[TrainConfig]) -> None:
    """Refuse two jobs with the same result: the second would count as done, with the numbers of the first.

    Args:
        jobs: the overrides of each.
        settings: of each.

    Raises:
        ValueError: naming the overrides in which the two differ, such as the logger, which changes no result.
    """
    known: dict[str, list[str]] = {}
    for job, own in zip(jobs, settings, strict=True):
        first = known.setdefault(identity(OmegaConf.structured(own)), job)
        if first is not job:
            own_words = [" ".join(w for w in one if w not in other) for one, other in ((first, job), (job, first))]
            same = (
                f"{own_words[0]} and {own_words[1]} have the same result"
                if any(own_words)
                else f"{' '.join(job)} is given twice"
            )
            raise ValueError(
                f"{same}, so they are one job; leave one out, or give each a sweep of its own (output_dir=FOLDER)"
            )


def _say_what_is_done(sweep: Path, settings: list[TrainConfig]) -> None:
    """Print one line about the jobs in the sweep's folder, if there are any."""
    folders = {number: folder for number, job in enumerate(settings) if (folder := find_job_folder(sweep, job))}
    n_done = sum(is_finished(folder, settings[number]) for number, folder in folders.items())
    n_others = len({file.parent for file in sweep.glob(f"*/{JOB_FILE}")} - set(folders.values()))
    if folders or n_others:
        known = f"{n_done} of {len(settings)} jobs are done there, {len(folders) - n_done} go on where they stopped"
        others = f"; left as they are, with other settings: {n_others}" if n_others else ""
        print(f"sweep      {sweep}: {known}, {len(settings) - len(folders)} are new{others}", flush=True)


# A search that goes on where it stopped: hydra/sweeper=optuna with its study in the sweep's folder ---------------


def _check_objective(settings: list[Any]) -> None:
    for job in settings:
        if not isinstance(job, TrainConfig):
            raise ValueError("only train.py returns a number to search by; leave out hydra/sweeper=")
        if job.objective.endswith("accuracy") and not job.evaluation.enabled:
            raise ValueError(
                f"objective={job.objective} is not measured with evaluation.enabled=false; "
                "objective=nmi_labels or nmi_previous is"
            )


def _continue_study(hydra: DictConfig, objective: str) -> None:
    """Prepare a search for a study that its folder may hold already, and print what it will do.

    The sweeper resumes a study, but it would draw the first trials again, count trials from 0, and forget those that
    were running when it was stopped. So n_trials is lowered by the finished trials, the seed changes with their
    number, and stopped trials are queued.

    Args:
        hydra: Hydra's config, changed in place.
        objective: the number that the jobs return.

    Raises:
        ValueError: if the folder's study has another objective.
    """
    if "optuna" not in str(hydra.sweeper["_target_"]):
        return
    folder, sweeper = Path(hydra.sweep.dir), hydra.sweeper
    folder.mkdir(parents=True, exist_ok=True)  # sqlite does not make it
    n_known = 0
    if sweeper.storage is not None:
        _check_same_objective(folder, objective)
        n_known = _known_trials(sweeper)
    known = f", {n_known} of them done" if n_known else ""
    print(f"search     {_direction(sweeper)} {objective} in {sweeper.n_trials} trials{known}; {folder}", flush=True)
    with open_dict(hydra):
        sweeper.n_trials = max(0, sweeper.n_trials - n_known)
        if n_known and sweeper.sampler.get("seed") is not None:
            sweeper.sampler.seed = mix(sweeper.sampler.seed, "optuna", n_known) % 2**31


def _check_same_objective(folder: Path, objective: str) -> None:
    """Refuse a study of another objective; objective.txt beside it holds its name."""
    file = folder / "objective.txt"
    if not file.is_file():
        file.write_text(objective)
    elif file.read_text() != objective:
        raise ValueError(
            f"objective={objective}, but the search in {folder} goes by {file.read_text()}; choose another output_dir"
        )


def _known_trials(sweeper: Any) -> int:
    """The number of finished trials of the study; stopped trials are queued to run first."""
    import optuna

    logging.getLogger("optuna").setLevel(logging.WARNING)
    study = optuna.create_study(
        study_name=sweeper.study_name, storage=sweeper.storage, direction=_direction(sweeper), load_if_exists=True
    )
    states = optuna.trial.TrialState
    for trial in study.get_trials(deepcopy=False, states=(states.RUNNING,)):
        study.tell(trial.number, state=states.FAIL)
        study.enqueue_trial(trial.params)  # same settings: the job continues in its folder
    return len(study.get_trials(deepcopy=False, states=(states.COMPLETE,)))


def _direction(sweeper: Any) -> Any:
    """maximize or minimize; the sweeper's schema makes it an enumeration."""
    return getattr(sweeper.direction, "name", sweeper.direction)
