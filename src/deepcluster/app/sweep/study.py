"""A search that goes on where it stopped: hydra/sweeper=optuna with its study in the sweep's folder.

The sweeper itself resumes a study, but would draw its first trials again, count its trials anew, and forget those
that were being run when it was stopped.
"""

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, open_dict

from deepcluster.settings.train import TrainConfig
from deepcluster.system.seeding import mix


def prepare(hydra: DictConfig, settings: list[TrainConfig]) -> None:
    """Before the sweeper opens its study: what is left of n_trials, another seed, the stopped trials again.

    Args:
        hydra: Hydra's config, which is changed: n_trials counts those of earlier starts.
        settings: of jobs that may be tried; what they return is said.

    Raises:
        ValueError: if the folder's study searches for something else.
    """
    if "optuna" not in str(hydra.sweeper["_target_"]):
        return
    folder, sweeper = Path(hydra.sweep.dir), hydra.sweeper
    folder.mkdir(parents=True, exist_ok=True)  # sqlite makes none
    objective = settings[0].objective
    n_known = 0
    if sweeper.storage is not None:
        check_same_objective(folder, objective)
        n_known = _known_trials(sweeper)
    direction = getattr(sweeper.direction, "name", sweeper.direction)
    known = f", {n_known} of them done" if n_known else ""
    print(f"search     {direction} {objective} in {sweeper.n_trials} trials{known}; {folder}", flush=True)
    with open_dict(hydra):
        sweeper.n_trials = max(0, sweeper.n_trials - n_known)
        if n_known and sweeper.sampler.get("seed") is not None:
            sweeper.sampler.seed = mix(sweeper.sampler.seed, "optuna", n_known) % 2**31


def check_same_objective(folder: Path, objective: str) -> None:
    """One study, one objective: the file beside it keeps its name.

    Raises:
        ValueError: if it was another.
    """
    file = folder / "objective.txt"
    if not file.is_file():
        file.write_text(objective)
    elif file.read_text() != objective:
        raise ValueError(
            f"objective={objective}, but the study in {folder} is of {file.read_text()}; give it another output_dir"
        )


def _known_trials(sweeper: Any) -> int:
    """How many trials of the study have ended; those that were stopped come first in the next draw."""
    import optuna

    logging.getLogger("optuna").setLevel(logging.WARNING)
    direction = getattr(sweeper.direction, "name", sweeper.direction)
    study = optuna.create_study(
        study_name=sweeper.study_name, storage=sweeper.storage, direction=direction, load_if_exists=True
    )
    states = optuna.trial.TrialState
    for trial in study.get_trials(deepcopy=False, states=(states.RUNNING,)):
        study.tell(trial.number, state=states.FAIL)
        study.enqueue_trial(trial.params)  # the same settings: the job goes on in its folder
    return len(study.get_trials(deepcopy=False, states=(states.COMPLETE,)))
