"""From a composed config to an object of its dataclass."""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from deepcluster.data.settings import Source
from deepcluster.settings.options import kind_key
from deepcluster.settings.unknown_keys import explain_unknown_key


def as_dataclass(cfg: DictConfig) -> Any:
    """The config as an object of the dataclass that is its schema.

    Raises:
        ValueError: if a key is unknown, or a value is missing, has a wrong type, or is refused by its dataclass.
    """
    _check_keys(cfg, "")
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise ValueError(f"{missing[0]} has no value; add {missing[0]}=VALUE")
    try:
        return OmegaConf.to_object(cfg)
    except OmegaConfBaseException as error:  # its cause is the error of a __post_init__
        raise ValueError(str(error.__cause__ or error).splitlines()[0]) from error


def _check_keys(node: DictConfig, prefix: str) -> None:
    """Refuse keys that the schema does not have; Hydra lets the user add any with a plus."""
    schema = OmegaConf.get_type(node)
    if not is_dataclass(schema):
        return
    known = [f.name for f in fields(schema)]
    for name in map(str, node):
        key = f"{prefix}{name}"
        if name not in known:
            reason = (
                explain_unknown_key(key, known, schema) or f"; {prefix[:-1] or 'the config'} has {', '.join(known)}"
            )
            raise ValueError(f"there is no key {key}{reason}")
        value = None if OmegaConf.is_missing(node, name) else node[name]
        if isinstance(value, DictConfig):
            _check_keys(value, f"{key}.")


def check_root(source: Source, overrides: Sequence[str]) -> None:
    """Refuse a folder that was typed where the source reads none: the run would learn from other images.

    Args:
        source: the images.
        overrides: the typed overrides.

    Raises:
        ValueError: naming the source that reads folders.
    """
    for override in overrides:
        key, _, root = override.lstrip("+").partition("=")
        if key == "data.root" and root != "null" and not source.reads_root:
            raise ValueError(
                f"data={source.source} comes with the package and reads no {override}; did you mean data=folder "
                f"{override}? (experiment=photographs chooses network and crops for photographs too)"
            )


def check_kinds(config: Any, options: dict[str, dict[str, type]]) -> None:
    """Refuse a `kind` that was set by hand and does not belong to the class of the chosen option.

    Args:
        config: a dataclass with these groups.
        options: group -> kind -> class, as in options.py.

    Raises:
        ValueError: naming the options.
    """
    for group, kinds in options.items():
        key, settings = kind_key(group), getattr(config, group)
        kind = getattr(settings, key)
        if type(settings) not in kinds.values():
            raise ValueError(
                f"the file of the chosen {group}=OPTION does not say whose settings it holds: it must begin with "
                f"defaults: [/{group}_{kind}@_here_, _self_]"
            )
        if kinds.get(kind) is not type(settings):
            raise ValueError(
                f"{group}.{key}={kind} is not set by hand: {group}=OPTION chooses among {', '.join(kinds)}"
            )
