"""Paths as any folder can read them: a run's config.yaml is read by resume and eval.py, wherever they are typed."""

import copy
import os
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from deepcluster.data.settings import is_url
from deepcluster.settings.key_places import path_keys
from deepcluster.settings.train import TrainConfig

# The run's own folder, wherever it goes, and a tracker's server or database.
AS_TYPED = ("output_dir", "resume", "logger.tracking_uri")
PATHS = tuple(key for key in path_keys(TrainConfig) if key not in AS_TYPED)
NO_PATH = {"reading.cache_dir": "none"}  # a value that names no folder


def with_absolute_paths(cfg: DictConfig) -> DictConfig:
    """A copy in which relative paths begin at the folder where one stands; URLs stay."""
    absolute = copy.deepcopy(cfg)
    for key in PATHS:
        path = OmegaConf.select(absolute, key, throw_on_missing=False)
        if isinstance(path, str) and path and path != NO_PATH.get(key) and not is_url(path):
            OmegaConf.update(absolute, key, str(Path(os.path.expanduser(path)).absolute()))
    return absolute
