"""The settings of a run, as benchmarks need them."""

import dataclasses
from pathlib import Path

from hydra import compose, initialize_config_dir

from deepcluster.settings.train import TrainConfig, register_schemas, train_config
from deepcluster.tracking.logger import Logger

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def read_config(overrides: list[str]) -> TrainConfig:
    """The settings of a run of one epoch that logs to nobody."""
    register_schemas()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = train_config(compose("train", overrides))
    return dataclasses.replace(config, trainer={**config.trainer, "max_epochs": 1}, logger=Logger())
