"""A sweep's folder: which jobs it holds, what each of them is, and how far it got. Next: table.py prints it.

A job of train.py is its settings: a folder whose config.yaml says the same is the same job, however it was typed and
whatever its number is. So the same command in the same folder finds its jobs again, in any process.
"""

import copy
import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf, open_dict

from deepcluster.settings.composed import as_dataclass
from deepcluster.settings.resume import may_change
from deepcluster.settings.stored import read_stored_config
from deepcluster.settings.train import TrainConfig, register_schemas
from deepcluster.system.atomic import write_atomically
from deepcluster.system.nested import flat
from deepcluster.training.processes import TIMEOUT_KEY

JOB_FILE = "job.json"
SHARED = ".untrained"  # the sweep's folder of what its jobs share, see features/reuse.py
RESULT_FILES = ("results.json", "summary.json")  # of eval.py and of train.py
SAME_FOR_ALL = ("output_dir", "sweep")  # and known, so no table needs them
# Options of Hydra's plugins that configs/hydra/GROUP/NAME.yaml stands for: Hydra would take theirs as its schema.
OWN_OPTIONS = {"launcher": ("joblib", "submitit_local", "submitit_slurm"), "sweeper": ("optuna",)}
# Settings that change no result, besides those that are marked as what a resumed run may change (system/setting.py).
NO_DIFFERENCE = (
    "output_dir",
    "resume",
    "objective",
    "extraction.reuse_mb",
    *(f"data.{name}" for name in ("in_memory", "memory_gb", "check", "cache_gb")),
    # not trainer.devices: each process has batches of data.batch_size, so their number decides what a step is
    *(f"trainer.{name}" for name in ("accelerator", "strategy", TIMEOUT_KEY)),
)
# These are marked, but make another job: other epochs, other images, a callback that stops early.
A_DIFFERENCE = ("trainer", "data.root", "callbacks")


@dataclass(kw_only=True)
class Job:
    """One job of a sweep.

    Args:
        number: its place in the sweep, from 0.
        folder: where its files are.
        overrides: what was typed for it, key -> value.
        evaluation: eval.py's choice, also where it was not typed; None in train.py.
        numbers: its results; {} if it failed.
        error: why it failed, in a sentence.
        ended: whether it is done or has failed; False: it runs, or was stopped.
        settings: what decides its result, as a hash; None for eval.py and for settings that are refused.
        store_dtype: extraction.store_dtype as it was typed; a run's config.yaml has what "auto" came to.
    """

    number: int
    folder: str
    overrides: dict[str, str]
    evaluation: str | None = None
    numbers: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    ended: bool = True
    settings: str | None = None
    store_dtype: str = "auto"

    @property
    def done(self) -> bool:
        """Whether it came to its end without an error."""
        return self.ended and self.error is None


def note(job: Job) -> None:
    """Write the job's state to its folder, for whichever process prints the sweep."""
    stored = {key: value for key, value in asdict(job).items() if key not in ("folder", "numbers")}
    write_atomically(Path(job.folder) / JOB_FILE, (json.dumps(stored, indent=2) + "\n").encode())


def jobs_in(sweep: Path) -> list[Job]:
    """All jobs that the sweep's folder holds, by number; a damaged note is left out."""
    jobs = []
    for file in sweep.glob(f"*/{JOB_FILE}"):
        try:
            job = Job(**json.loads(file.read_text()), folder=str(file.parent))
        except (ValueError, TypeError):
            continue
        if job.done:
            job.numbers = numbers_in(file.parent)
        jobs.append(job)
    return sorted(jobs, key=lambda job: (job.number, job.folder))


def keys_and_values(overrides: list[str]) -> dict[str, str]:
    """Overrides as Hydra spells them, as key -> value, without those that a table need not show."""
    parted = (override.partition("=") for override in overrides)
    return {
        key: value for key, _, value in parted if key not in SAME_FOR_ALL and not key.startswith(("hydra.", "hydra/"))
    }


def numbers_in(folder: Path) -> dict[str, float]:
    """The numbers of a job's results.json, or of its summary.json, where those of groups are called GROUP/NAME."""
    file = next((folder / name for name in RESULT_FILES if (folder / name).is_file()), None)
    if file is None:
        return {}
    content = json.loads(file.read_text())
    if file.name == "results.json":  # its one group, arch, says what was measured
        content = {name: value for name, value in content.items() if not isinstance(value, dict)}
    values = flat(content, "/").items()
    return {name: value for name, value in values if isinstance(value, int | float) and not isinstance(value, bool)}


def register_for_jobs() -> None:
    """Make schemas and resolvers known to Hydra, in whichever process composes a job's config."""
    # Hydra copies its store of schemas at each of the 139 listings of --help and at each compose, 2.4 of 3.1 s; it need
    # not, as it copies again what it takes from there.
    ConfigStore.__deepcopy__ = lambda store, memo: store  # type: ignore[attr-defined]  # a method that it has not
    register_schemas()
    OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)
    Plugins.instance()  # finds them, and their options
    store: dict[str, Any] = ConfigStore.instance().repo["hydra"]
    for group, names in OWN_OPTIONS.items():
        for name in names:
            store[group].pop(f"{name}.yaml", None)


# Which job of train.py a folder holds --------------------------------------------------------------------------


def job_folder(sweep: str, name: str, *, _root_: DictConfig) -> str:
    """The name of the folder of a job of train.py (a resolver, for hydra.sweep.subdir): its own, if there is one.

    Args:
        sweep: the sweep's folder.
        name: for a new job.
        _root_: the job's config, with Hydra's.
    """
    try:
        own = find(Path(sweep), as_dataclass(without_hydra(_root_)))
    except ValueError:  # the job itself will tell it
        own = None
    if own is not None:
        return own.name
    taken, number = name, 1
    while (Path(sweep) / taken / JOB_FILE).is_file():  # a job of other settings, such as another data.root
        number += 1
        taken = f"{name}_{number}"
    return taken


def without_hydra(cfg: DictConfig) -> DictConfig:
    """A job's config without Hydra's own part."""
    job = copy.copy(cfg)
    with open_dict(job):
        job.pop("hydra", None)
    return job


def find(sweep: Path, settings: TrainConfig) -> Path | None:
    """The folder in a sweep's folder that holds a job of these settings, however far it came; None without one."""
    own = identity(OmegaConf.structured(settings))
    return next((file.parent for file in sorted(sweep.glob(f"*/{JOB_FILE}")) if _identity_in(file) == own), None)


def _identity_in(note_file: Path) -> str | None:
    """The identity of the job that a folder holds: its run's, or of a job that never became a run what was noted."""
    try:
        noted = json.loads(note_file.read_text())
        config_file = note_file.with_name("config.yaml")
        if config_file.is_file():
            changed = config_file.stat().st_mtime_ns
            return _identity_of_run(config_file, changed, noted.get("store_dtype", "auto"))
        return str(noted["settings"])
    except (ValueError, KeyError, AttributeError):
        return None


def finished(folder: Path, settings: TrainConfig) -> bool:
    """Whether the folder's run, of these settings, came to its end."""
    try:
        epochs = json.loads((folder / "summary.json").read_text())["epochs"]
    except (OSError, ValueError, KeyError):
        return False
    # a run that was continued beyond its first end has the summary of that until the next
    return bool(epochs == settings.trainer["max_epochs"] or settings.reassign.stable_ends_training)


def identity(cfg: DictConfig) -> str:
    """A hash of what decides a run's result, from its config; 32 hexadecimal digits."""
    plain = OmegaConf.to_container(cfg)
    assert isinstance(plain, dict)
    for key in {*may_change(cfg), *NO_DIFFERENCE}.difference(A_DIFFERENCE):
        *groups, name = key.split(".")
        node: Any = plain
        for group in groups:
            node = node.get(group) or {}
        node.pop(name, None)
    return hashlib.blake2b(json.dumps(plain, sort_keys=True).encode(), digest_size=16).hexdigest()


@lru_cache(maxsize=4096)
def _identity_of_run(file: Path, _changed: int, store_dtype: str) -> str | None:
    """The identity of a stored run; None for a file that this version cannot read."""
    try:
        cfg = read_stored_config(file)
    except ValueError:
        return None
    cfg.extraction.store_dtype = store_dtype
    return identity(cfg)
