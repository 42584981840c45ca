"""Which folder of a sweep holds which job of train.py, so that no job is done twice. check.py and end.py ask it.

Two jobs are the same if the settings that decide their results are equal, however they were typed and whatever their
numbers are. So the same command in the same folder finds its jobs again, in any process.
"""

import copy
import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from deepcluster.app.sweep.jobs import JOB_FILE
from deepcluster.clustering.chosen_k import AUTO
from deepcluster.settings.absolute import with_absolute_paths
from deepcluster.settings.composed import as_dataclass
from deepcluster.settings.resume import may_change
from deepcluster.settings.stored import read_stored_config
from deepcluster.settings.train import TrainConfig
from deepcluster.training.processes import TIMEOUT_KEY

# Settings that change no result, besides those that a resumed run may change (`may_change` of system/setting.py).
NO_DIFFERENCE = (
    "output_dir",
    "resume",
    "objective",
    *(f"reading.{name}" for name in ("in_memory", "memory_gb", "check")),
    # not trainer.devices: each process has batches of reading.batch_size, so their number decides what a step is
    *(f"trainer.{name}" for name in ("accelerator", "strategy", TIMEOUT_KEY)),
)
# A resumed run may change these, but they make another job: other epochs, other images, a callback that stops early.
A_DIFFERENCE = ("trainer", "data.root", "callbacks")


def job_folder(sweep: str, new_name: str, *, _root_: DictConfig) -> str:
    """The name of the folder of a job of train.py: the one that holds it already, or a new one.

    A resolver of config files, for hydra.sweep.subdir.

    Args:
        sweep: the sweep's folder.
        new_name: for a new job; a number is added where a job of other settings has that name.
        _root_: the job's config, with Hydra's.
    """
    try:
        own = find_job_folder(Path(sweep), as_dataclass(without_hydra(_root_)))
    except ValueError:  # these settings are refused when the job starts
        own = None
    if own is not None:
        return own.name
    name, number = new_name, 1
    while (Path(sweep) / name / JOB_FILE).is_file():
        number += 1
        name = f"{new_name}_{number}"
    return name


def without_hydra(cfg: DictConfig) -> DictConfig:
    """A job's config without Hydra's own part."""
    job = copy.copy(cfg)
    with open_dict(job):
        job.pop("hydra", None)
    return job


def find_job_folder(sweep: Path, settings: TrainConfig) -> Path | None:
    """The folder below `sweep` that holds a job of these settings, finished or not; None if there is none."""
    own = identity(OmegaConf.structured(settings))
    return next((file.parent for file in sorted(sweep.glob(f"*/{JOB_FILE}")) if _identity_in(file) == own), None)


def is_finished(folder: Path, settings: TrainConfig) -> bool:
    """Whether the folder's run, which has these settings, came to its end."""
    try:
        epochs = json.loads((folder / "summary.json").read_text())["epochs"]
    except (OSError, ValueError, KeyError):
        return False
    # A run that trains on beyond its first end keeps its first summary until it ends again.
    return bool(epochs == settings.trainer["max_epochs"] or settings.reassign.stable_ends_training)


def identity(cfg: DictConfig) -> str:
    """A hash of the settings that decide a run's result: 32 hexadecimal digits."""
    plain = OmegaConf.to_container(with_absolute_paths(cfg))
    assert isinstance(plain, dict)
    for key in {*may_change(cfg), *NO_DIFFERENCE}.difference(A_DIFFERENCE):
        *groups, name = key.split(".")
        node: Any = plain
        for group in groups:
            node = node.get(group) or {}
        node.pop(name, None)
    return hashlib.blake2b(json.dumps(plain, sort_keys=True).encode(), digest_size=16).hexdigest()


def _identity_in(job_file: Path) -> str | None:
    """The identity of the job in a folder: from its run's config.yaml, or from job.json if no run has begun."""
    try:
        job = json.loads(job_file.read_text())
        config_file = job_file.with_name("config.yaml")
        if config_file.is_file():
            changed_ns = config_file.stat().st_mtime_ns
            return _identity_of_run(config_file, changed_ns, job.get("store_dtype", "auto"), bool(job.get("chooses_k")))
        return str(job["settings"])
    except (ValueError, KeyError, AttributeError):
        return None


@lru_cache(maxsize=4096)
def _identity_of_run(config_file: Path, _changed_ns: int, store_dtype: str, chooses_k: bool) -> str | None:
    """The identity of a stored run; None for a file that this version cannot read.

    Args:
        _changed_ns: when the file was changed, so that the cache notices it.
        store_dtype: as it was typed.
        chooses_k: whether clustering.k=auto was typed.
    """
    try:
        cfg = read_stored_config(config_file)
    except ValueError:
        return None
    typed: dict[str, Any] = {"extraction": {"store_dtype": store_dtype}}
    if chooses_k:
        typed["clustering"] = {"k": AUTO}
    return identity(OmegaConf.merge(cfg, typed))  # type: ignore[arg-type]
