"""What a resumed run takes from its stored config, and what the command line may change of it."""

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from deepcluster.settings.callbacks import refuse_stored_code
from deepcluster.settings.stored import read_stored_config
from deepcluster.settings.train import TrainConfig, train_config
from deepcluster.system.nested import flat
from deepcluster.system.setting import MAY_CHANGE
from deepcluster.training.processes import TIMEOUT_KEY

OF_FOLDER = ("output_dir", "resume")  # of where a run is, not of what it learns
# What resume=RUN trainer=OPTION takes of the option: its other values are a new run's defaults.
MACHINE = ("accelerator", "devices", "strategy", "num_nodes", TIMEOUT_KEY)


def resumed(cfg: DictConfig, overrides: list[str]) -> DictConfig:
    """The config of the run to resume, with what the command line changes.

    Raises:
        ValueError: if the command line changes what was learned so far.
    """
    file = Path(cfg.resume) / "config.yaml"
    stored = read_stored_config(file)
    changeable = may_change(stored)
    planned = stored.trainer.max_epochs
    for override in overrides:
        key = override.lstrip("+").partition("=")[0]
        if key == "resume" or key.startswith("hydra"):
            continue
        if not any(key == allowed or key.startswith(f"{allowed}.") for allowed in changeable):
            raise ValueError(
                f"{override} cannot change in a resumed run; only {', '.join(changeable)} can. "
                "Start a new run, with init=checkpoint init.path=... to begin from these weights"
            )
        names = [f"trainer.{name}" for name in MACHINE if name in cfg.trainer] if key == "trainer" else [key]
        for name in names:
            OmegaConf.update(stored, name, OmegaConf.select(cfg, name), merge=False, force_add=True)
    refuse_stored_code(stored, overrides, file)
    stored.resume = cfg.resume
    _check_cosine(stored, planned)
    return stored


def _check_cosine(stored: DictConfig, planned: int) -> None:
    """Beyond its planned end a cosine rises again.

    Raises:
        ValueError: if a run whose rate falls to 0 at its last epoch is to go on after it.
    """
    if stored.optimizer.schedule == "cosine" and stored.trainer.max_epochs != planned:
        raise ValueError(
            f"trainer.max_epochs={stored.trainer.max_epochs} cannot change in a run with optimizer.schedule=cosine: "
            f"its rate falls to 0 at epoch {planned}. Start a new run, with init=checkpoint init.path=... to begin "
            "from these weights"
        )


def may_change(cfg: DictConfig, prefix: str = "") -> list[str]:
    """The keys that a resumed run may change, as the fields of its dataclasses are marked (system/setting.py)."""
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
    """The settings that cannot change in a resumed run, as plain values by their full names."""
    cfg = OmegaConf.structured(config)
    free = [f"{name}." for name in (*may_change(cfg), *OF_FOLDER)]
    plain = OmegaConf.to_container(cfg)
    assert isinstance(plain, dict)
    return {key: value for key, value in flat(plain).items() if not f"{key}.".startswith(tuple(free))}


def new_or_resumed_config(cfg: DictConfig, overrides: list[str]) -> TrainConfig:
    """The settings of what train.py was asked for: a new run, or one to go on with.

    Args:
        cfg: composed.
        overrides: what was typed.

    Raises:
        ValueError: from :func:`resumed` and :func:`train_config`.
    """
    return train_config(cfg if cfg.resume is None else resumed(cfg, overrides))
