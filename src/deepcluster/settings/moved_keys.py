"""Renamed keys: old command lines and the config.yaml of old runs are read with the new names."""

import re
from dataclasses import fields
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from deepcluster.data.settings import SOURCES

_OF_VIEW = (
    "size",
    "resize",
    "crop_scale",
    "crop_ratio",
    "flip",
    "color_jitter",
    "jitter_probability",
    "grey_probability",
    "blur_probability",
    "blur_sigma",
    "mean",
    "std",
)
_OF_READING = (
    "batch_size",
    "num_workers",
    "persistent_workers",
    "in_memory",
    "memory_gb",
    "stored_size",
    "decode",
    "max_value",
    "check",
    "on_broken",
    "timeout_s",
    "cache_dir",
)
MOVED = {  # old key -> new key
    **{f"data.{name}": f"view.{name}" for name in _OF_VIEW},
    **{f"data.{name}": f"reading.{name}" for name in _OF_READING},
}
_OVERRIDE = re.compile(r"([+~]*)([\w.]+)(=.*|$)", re.DOTALL)


def with_new_keys(overrides: list[str]) -> tuple[list[str], list[str]]:
    """The words of a command line with new keys for old ones, and a note about each key that was replaced."""
    translated, notes = [], []
    chooses_source = any(word.startswith("data=") for word in overrides)
    for word in overrides:
        parts = _OVERRIDE.fullmatch(word)
        if word.startswith("data.source=") and not chooses_source:
            notes.append("data.source is now data")
            word = word.replace("data.source=", "data=", 1)
        elif parts and parts[2] in MOVED:
            notes.append(f"{parts[2]} is now {MOVED[parts[2]]}")
            word = f"{parts[1]}{MOVED[parts[2]]}{parts[3]}"
        translated.append(word)
    return translated, notes


def renamed(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings by their full names, as a checkpoint holds them, with names as they are now."""
    return {MOVED.get(key, key): value for key, value in settings.items()}


def move_old_keys(plain: DictConfig | ListConfig) -> None:
    """Rename the old keys of a stored config in place; remove those of other sources, which every source once had.

    clustering.arithmetic goes: power iteration is in float64 alone.
    """
    for old, new in MOVED.items():
        group, _, name = old.partition(".")
        node = OmegaConf.select(plain, group)
        if isinstance(node, DictConfig) and name in node:
            OmegaConf.update(plain, new, node.pop(name), force_add=True)
    clustering = OmegaConf.select(plain, "clustering")
    if isinstance(clustering, DictConfig):
        clustering.pop("arithmetic", None)
    data = OmegaConf.select(plain, "data")
    own = SOURCES.get(data.get("source") or next(iter(SOURCES))) if isinstance(data, DictConfig) else None
    if own is not None:
        for key in {key.name for source in SOURCES.values() for key in fields(source)}:
            if key not in {key.name for key in fields(own)}:
                data.pop(key, None)
