"""What Hydra must know before it composes a config: our schemas, resolvers and options. Next: command_line.py."""

import sys
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from deepcluster.app.env_file import read_env_file
from deepcluster.app.evaluation_list import list_evaluations
from deepcluster.app.sweep.same_job import job_folder
from deepcluster.settings.eval import eval_schema
from deepcluster.settings.options import EVAL_OPTIONS
from deepcluster.settings.train import register_schemas
from deepcluster.system.program import program

# Options of Hydra's plugins that configs/hydra/GROUP/NAME.yaml replaces: Hydra would take theirs as a schema for ours.
REPLACED_OPTIONS = {"launcher": ("joblib", "submitit_local", "submitit_slurm"), "sweeper": ("optuna",)}


def register() -> None:
    """Read .env and make schemas and resolvers known to Hydra; train.py and eval.py call it before ``hydra.main``."""
    for note in read_env_file(Path.cwd() / ".env"):
        print(f"note: {note}", file=sys.stderr)
    register_for_jobs()
    ConfigStore.instance().store(name="eval_schema", node=eval_schema())
    OmegaConf.register_new_resolver("evaluations", _evaluations, replace=True)  # in configs/hydra/help


def register_for_jobs() -> None:
    """Make schemas and resolvers known to Hydra in any process that composes the config of a sweep's job."""
    # Hydra copies its store of schemas for each of the 139 listings of --help and for each compose (2.4 of 3.1 s).
    # The copy is not needed: Hydra copies again what it takes from the store.
    ConfigStore.__deepcopy__ = lambda store, memo: store  # type: ignore[attr-defined]  # a method that it has not
    register_schemas()
    OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)
    OmegaConf.register_new_resolver("program", program, replace=True)
    Plugins.instance()  # finds the installed plugins and their options
    store: dict[str, Any] = ConfigStore.instance().repo["hydra"]
    for group, names in REPLACED_OPTIONS.items():
        for name in names:
            store[group].pop(f"{name}.yaml", None)


def _evaluations(config_sources: Any) -> str:
    """The list of evaluations, given hydra.runtime.config_sources."""
    configs = next(Path(source.path) for source in config_sources if source.provider == "main")
    text = list_evaluations(configs / "evaluation", EVAL_OPTIONS["evaluation"])
    return text.replace("$", "$$")  # Hydra substitutes $NAME in its help
