"""Composing in a fraction of the time: Hydra reads each file of configs/ once in a process, and copies what it read.

Hydra composes a config of some forty files anew for each question, and tests ask thousands. What is composed stays the
same: test_composing.py. Hydra as it is composes in all processes that tests start by other ways than typed.py.
"""

import copy
from typing import Any

from hydra._internal import defaults_list
from hydra._internal.config_repository import ConfigRepository
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult
from support.configs import CONFIGS

from deepcluster.app import hydra_setup

LASTING = {str(CONFIGS), "hydra.conf"}  # whose files no test writes
_load = ConfigRepository.load_config
_interpolation_map = defaults_list._create_interpolation_map
_read: dict[tuple[str, str], ConfigResult] = {}


def read_configs_once() -> None:
    """From now on, in this process and its forks."""
    ConfigRepository.load_config = _load_once  # type: ignore[method-assign]
    defaults_list._create_interpolation_map = _map_if_asked


def register_once() -> None:
    """Make our schemas known to Hydra; who does it again, in this process or a fork, does nothing."""
    hydra_setup.register_for_jobs()
    hydra_setup.register_for_jobs = lambda: None


def read_configs_anew() -> None:
    """As Hydra does it."""
    ConfigRepository.load_config = _load  # type: ignore[method-assign]
    defaults_list._create_interpolation_map = _interpolation_map


def _load_once(self: ConfigRepository, config_path: str) -> ConfigResult | None:
    source = self._find_object_source(config_path, ObjectType.CONFIG)
    if source is None or source.path not in LASTING:
        return _load(self, config_path)
    key = (source.path, config_path)
    if key not in _read:
        loaded = _load(self, config_path)
        assert loaded is not None
        _read[key] = loaded
    return copy.deepcopy(_read[key])  # Hydra merges into what it loaded


def _map_if_asked(overrides: Any, defaults: list[Any], self_added: bool) -> Any:
    """What `${...}` in a file's list of defaults can name: Hydra makes it for each of the forty, few of which ask."""
    asked = any(default.is_interpolation() for default in defaults)
    return _interpolation_map(overrides, defaults, self_added) if asked else None
