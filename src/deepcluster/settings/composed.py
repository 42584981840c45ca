"""From a composed config to the dataclass that it is typed by."""

from dataclasses import fields, is_dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException


def as_dataclass(cfg: DictConfig) -> Any:
    """The schema's dataclass with the config's values.

    Raises:
        ValueError: if a value is missing, of a wrong type, or refused by its dataclass.
    """
    _check_keys(cfg, "")
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise ValueError(f"{missing[0]} has no value; add {missing[0]}=VALUE")
    try:
        return OmegaConf.to_object(cfg)
    except OmegaConfBaseException as error:  # wraps what __post_init__ says
        raise ValueError(str(error.__cause__ or error).splitlines()[0]) from error


def _check_keys(node: DictConfig, prefix: str) -> None:
    """Refuse keys that the schema does not have: Hydra lets a plus add any."""
    schema = OmegaConf.get_type(node)
    if not is_dataclass(schema):
        return
    known = [f.name for f in fields(schema)]
    for name in map(str, node):
        key = f"{prefix}{name}"
        if name not in known:
            why = getattr(schema, "ABSENT", {}).get(name, f"there are {', '.join(known)}")
            raise ValueError(f"there is no key {key}, and none can be added; {why}")
        value = None if OmegaConf.is_missing(node, name) else node[name]
        if isinstance(value, DictConfig):
            _check_keys(value, f"{key}.")


def check_kinds(config: Any, options: dict[str, dict[str, type]]) -> None:
    """Refuse a `kind` that names another class than the group's option gave.

    Args:
        config: a dataclass with these groups.
        options: group -> kind -> class, as in options.py.

    Raises:
        ValueError: naming the options.
    """
    for group, kinds in options.items():
        kind = getattr(config, group).kind
        if kinds.get(kind) is not type(getattr(config, group)):
            raise ValueError(f"{group}.kind={kind} is not set by hand: {group}=OPTION chooses among {', '.join(kinds)}")
