"""The settings of a run that goes on from another: those of the stored config, with what the command line changes.

A resumed run may change few of them; one that follows another (run/follow.py) all but the network's.
"""

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from deepcluster.clustering.chosen_k import AUTO, SCAN_FILE
from deepcluster.settings.callbacks import refuse_stored_code
from deepcluster.settings.composed import check_root
from deepcluster.settings.stored import read_stored_config
from deepcluster.settings.train import TrainConfig, train_config
from deepcluster.system.nested import flat
from deepcluster.system.program import program
from deepcluster.system.quoting import argument
from deepcluster.system.setting import MAY_CHANGE, checked_path
from deepcluster.training.processes import TIMEOUT_KEY
from deepcluster.weights.start import CheckpointInit

# Where files are, not what is learned: the first weights are in the checkpoint, wherever their file has gone.
ABOUT_FOLDER = ("output_dir", "resume", "follows", "init.path")
# Keys that resume=RUN trainer=OPTION takes from the option; its other values are defaults for a new run.
ABOUT_MACHINE = ("accelerator", "devices", "strategy", "num_nodes", TIMEOUT_KEY)


# Of a run that follows one whose rate had fallen to its end: at the full rate it would first lose what it knows. One
# with a warm-up (it followed one itself, or adapted trained weights) keeps its rate.
FOLLOWING_RATE = 0.1  # of the rate
FOLLOWING_WARMUP = 0.5  # epochs
# What a run that follows another cannot change: its weights go on.
OF_NETWORK = ("arch", "init", "embedding", "view.size", "view.resize", "resume")


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
        _change(stored, cfg, key)
    refuse_stored_code(stored, overrides, file)
    stored.resume = cfg.resume
    _check_cosine(stored, planned_epochs)
    return stored


def following_config(cfg: DictConfig, overrides: list[str]) -> DictConfig:
    """The config of a new run that goes on from a finished one with other images.

    Args:
        cfg: the composed config.
        overrides: the typed overrides.

    Raises:
        ValueError: if there is no such run, or the command line changes the network.
    """
    run = Path(checked_path("follows", cfg.follows))
    file = run / "config.yaml"
    if not file.is_file():
        raise ValueError(f"follows={run}: no run there (no config.yaml); give a finished run's folder")
    stored = read_stored_config(file)
    if OmegaConf.select(stored, "other_rows.reassignments"):  # they were for a network that had learned nothing
        stored.other_rows.reassignments = 0
    if stored.optimizer.schedule == "cosine" and stored.optimizer.warmup_epochs == 0:
        stored.optimizer.lr *= FOLLOWING_RATE
        stored.optimizer.warmup_epochs = FOLLOWING_WARMUP
    for override in overrides:
        key = override.lstrip("+").partition("=")[0]
        if key in ("follows", "output_dir") or key.startswith("hydra") or _stays(key, cfg, stored):
            continue
        if key.partition(".")[0] in OF_NETWORK or key in OF_NETWORK:
            raise ValueError(
                f"{override}: the network of follows={run} goes on, as it is; leave one of the two out, or start a new "
                "run, with init=weights init.path=... for what fits of its weights"
            )
        if key == "clustering.k" and OmegaConf.select(cfg, key) == AUTO:
            raise ValueError(
                f"clustering.k=auto is for a new start, and follows={run} goes on with that run's clusters; leave it "
                "out to keep their number, or set clustering.k=NUMBER"
            )
        _change(stored, cfg, key)
    refuse_stored_code(stored, overrides, file)
    stored.init = OmegaConf.structured(CheckpointInit(path=str(run)))
    stored.resume, stored.follows, stored.output_dir = None, str(run), cfg.output_dir
    return stored


def _change(stored: DictConfig, cfg: DictConfig, key: str) -> None:
    """Take over the value of a key that was typed."""
    names = [f"trainer.{name}" for name in ABOUT_MACHINE if name in cfg.trainer] if key == "trainer" else [key]
    for name in names:
        OmegaConf.update(stored, name, OmegaConf.select(cfg, name), merge=False, force_add=True)


def _stays(key: str, cfg: DictConfig, stored: DictConfig) -> bool:
    """Whether what is typed is the run's own value, as when its first command is typed again with resume=RUN."""
    if key == "clustering.k" and OmegaConf.select(cfg, key) == AUTO:
        return (Path(cfg.resume or cfg.follows) / SCAN_FILE).is_file()  # a scan has chosen the run's number
    name = "data.source" if key == "data" else key
    now, before = OmegaConf.select(cfg, name), OmegaConf.select(stored, name)
    return now is not None and not isinstance(now, DictConfig) and bool(now == before)


def _check_cosine(stored: DictConfig, planned_epochs: int) -> None:
    """Refuse another number of epochs with a cosine schedule: the rate would jump, as its way fits the planned end."""
    asked = stored.trainer.max_epochs
    if stored.optimizer.schedule == "cosine" and asked != planned_epochs:
        train_on = ""
        if asked > planned_epochs:
            more = f"{argument('follows', stored.resume)} trainer.max_epochs={asked - planned_epochs}"
            train_on = f"to train on, follow it by a new run, once it is done: {program('train')} {more}; "
        raise ValueError(
            f"trainer.max_epochs={asked} cannot change in a run with optimizer.schedule=cosine, whose rate falls to "
            f"its end at epoch {planned_epochs}: {train_on}to train {asked} epochs from the start, type the run's "
            f"first command with trainer.max_epochs={asked}"
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
    """The settings of a new run, with resume=RUN those of a resumed one, with follows=RUN of one that goes on from it.

    Args:
        cfg: the composed config.
        overrides: the typed overrides.

    Raises:
        ValueError: from :func:`resumed_config`, :func:`following_config`, :func:`train_config` and :func:`check_root`.
    """
    if cfg.resume is not None:
        cfg = resumed_config(cfg, overrides)
    elif cfg.follows is not None:
        cfg = following_config(cfg, overrides)
    config = train_config(cfg)
    check_root(config.data, overrides)
    return config
