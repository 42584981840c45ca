"""What a resumed run takes from its stored config, and what the command line may change of it."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from deepcluster.settings.train import TrainConfig, load, settings
from deepcluster.training.processes import TIMEOUT_KEY

# What may change when a run is continued: how far and on what machine, not what is learned.
MAY_CHANGE_ON_RESUME = (
    "trainer",
    "logger",
    "data.root",
    "data.num_workers",
    "data.persistent_workers",
    "data.on_broken",
    "extraction.store",
    "extraction.memory_gb",
    "extraction.scratch",
    "data.timeout_s",
    "checkpoint",
    "estimate",
)


MACHINE = (
    "accelerator",
    "devices",
    "strategy",
    "num_nodes",
    TIMEOUT_KEY,
)  # what resume=RUN trainer=OPTION takes of the option


def resumed(cfg: DictConfig, overrides: list[str]) -> DictConfig:
    """The config of the run to resume, with what the command line changes.

    Raises:
        ValueError: if the command line changes what was learned so far.
    """
    file = Path(cfg.resume) / "config.yaml"
    stored = load(file)
    planned = stored.trainer.max_epochs
    for override in overrides:
        key = override.lstrip("+").partition("=")[0]
        if key == "resume" or key.startswith("hydra"):
            continue
        if not any(key == allowed or key.startswith(f"{allowed}.") for allowed in MAY_CHANGE_ON_RESUME):
            raise ValueError(
                f"{override} cannot change in a resumed run; only {', '.join(MAY_CHANGE_ON_RESUME)} can. "
                "Start a new run, with init=checkpoint init.path=... to begin from these weights"
            )
        # Another trainer is another machine: its file's other values are defaults, not this run's.
        names = [f"trainer.{name}" for name in MACHINE if name in cfg.trainer] if key == "trainer" else [key]
        for name in names:
            OmegaConf.update(stored, name, OmegaConf.select(cfg, name), merge=False, force_add=True)
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


def what_is_learned(config: TrainConfig) -> dict[str, Any]:
    """The settings that cannot change in a resumed run, as plain values by their full names."""
    plain = OmegaConf.to_container(OmegaConf.structured(config))
    flat = _flat(plain, "")
    free = (*MAY_CHANGE_ON_RESUME, "output_dir", "resume", "data.cache_dir")
    return {key: value for key, value in flat.items() if not any(f"{key}.".startswith(f"{name}.") for name in free)}


def _flat(node: Any, prefix: str) -> dict[str, Any]:
    if not isinstance(node, dict):
        return {prefix[:-1]: node}
    return {key: value for name, child in node.items() for key, value in _flat(child, f"{prefix}{name}.").items()}


def train_settings(cfg: DictConfig, overrides: list[str]) -> TrainConfig:
    return settings(cfg if cfg.resume is None else resumed(cfg, overrides))
