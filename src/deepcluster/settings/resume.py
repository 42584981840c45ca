"""The settings of a resumed run: those of its stored config, and the few that the command line may change."""

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from deepcluster.settings.callbacks import refuse_stored_code
from deepcluster.settings.composed import check_root
from deepcluster.settings.stored import read_stored_config
from deepcluster.settings.train import TrainConfig, train_config
from deepcluster.system.nested import flat
from deepcluster.system.setting import MAY_CHANGE
from deepcluster.training.processes import TIMEOUT_KEY

# Where files are, not what is learned: the first weights are in the checkpoint, wherever their file has gone.
ABOUT_FOLDER = ("output_dir", "resume", "init.path")
# Keys that resume=RUN trainer=OPTION takes from the option; its other values are defaults for a new run.
ABOUT_MACHINE = ("accelerator", "devices", "strategy", "num_nodes", TIMEOUT_KEY)


def resumed_config(cfg: DictConfig, overrides: list[str]) -> DictConfig:
    """The config of the run to resume, with the changes of the command line.

    Args:
        cfg: the composed config.
        overrides: the typed overrides.

    Raises:
        ValueError: if the command line changes a setting that decides what is learned.
    """
    file = Path(cfg.resume) / "config.yaml"
    stored = read_stored_config(file)
    changeable = may_change(stored)
    planned_epochs = stored.trainer.max_epochs
    for override in overrides:
        key = override.lstrip("+").partition("=")[0]
        if key == "resume" or key.startswith("hydra"):
            continue
        if _stays(key, cfg, stored):
            continue
        if not any(key == allowed or key.startswith(f"{allowed}.") for allowed in changeable):
            raise ValueError(
                f"{override} cannot change in a resumed run; only {', '.join(changeable)} can. "
                "Start a new run, with init=checkpoint init.path=... to begin from these weights"
            )
        names = [f"trainer.{name}" for name in ABOUT_MACHINE if name in cfg.trainer] if key == "trainer" else [key]
        for name in names:
            OmegaConf.update(stored, name, OmegaConf.select(cfg, name), merge=False, force_add=True)
    refuse_stored_code(stored, overrides, file)
    stored.resume = cfg.resume
    _check_cosine(stored, planned_epochs)
    return stored


def _stays(key: str, cfg: DictConfig, stored: DictConfig) -> bool:
    """Whether what is typed is the run's own value, as when its first command is typed again with resume=RUN."""
    name = "data.source" if key == "data" else key
    now, before = OmegaConf.select(cfg, name), OmegaConf.select(stored, name)
    return now is not None and not isinstance(now, DictConfig) and bool(now == before)


def _check_cosine(stored: DictConfig, planned_epochs: int) -> None:
    """Refuse another number of epochs with a cosine schedule: the rate would jump, as its way fits the planned end."""
    if stored.optimizer.schedule == "cosine" and stored.trainer.max_epochs != planned_epochs:
        raise ValueError(
            f"trainer.max_epochs={stored.trainer.max_epochs} cannot change in a run with optimizer.schedule=cosine: "
            f"its way ends at epoch {planned_epochs}. Start a new run, with init=checkpoint init.path=... to "
            "begin from these weights"
        )


def may_change(cfg: DictConfig, prefix: str = "") -> list[str]:
    """The keys that a resumed run may change: those whose fields are marked with may_change (system/setting.py)."""
    schema = OmegaConf.get_type(cfg)
    if not is_dataclass(schema):
        return []
    keys = []
    for setting_field in fields(schema):
        name = setting_field.name
        if setting_field.metadata.get(MAY_CHANGE):
            keys.append(f"{prefix}{name}")
        elif isinstance(group := cfg._get_node(name), DictConfig) and not group._is_none():
            keys += may_change(group, f"{prefix}{name}.")
    return keys


def what_is_learned(config: TrainConfig) -> dict[str, Any]:
    """The settings that cannot change in a resumed run: full name -> plain value."""
    cfg = OmegaConf.structured(config)
    changeable = [f"{name}." for name in (*may_change(cfg), *ABOUT_FOLDER)]
    plain = OmegaConf.to_container(cfg)
    assert isinstance(plain, dict)
    return {key: value for key, value in flat(plain).items() if not f"{key}.".startswith(tuple(changeable))}


def new_or_resumed_config(cfg: DictConfig, overrides: list[str]) -> TrainConfig:
    """The settings of a new run, or with resume=RUN those of a resumed run.

    Args:
        cfg: the composed config.
        overrides: the typed overrides.

    Raises:
        ValueError: from :func:`resumed_config`, :func:`train_config` and :func:`check_root`.
    """
    config = train_config(cfg if cfg.resume is None else resumed_config(cfg, overrides))
    check_root(config.data, overrides)
    return config
