"""What a `_target_` of a config names: checked against its signature before anything starts, and built by run.py."""

import difflib
import importlib
import inspect
import types
import typing
from collections.abc import Sequence
from typing import Any

# Where the thing that a group names may come from. A config may be part of a stranger's checkpoint, and Hydra's own
# block-list lets builtins.open and torch.load through (ECOSYSTEM.md).
ALLOWED = {
    "arch": "deepcluster.models.",
    "trainer": "pytorch_lightning.",
}


def check_target(node: dict[str, Any], key: str, supplied: tuple[str, ...]) -> None:
    """Refuse a `_target_` from elsewhere, one that does not exist, and arguments that it does not take.

    Args:
        node: the config of one group, with `_target_`.
        key: the group's name.
        supplied: arguments that the code will add.

    Raises:
        ValueError: naming the key, its value, and what would be right.
    """
    target = node.get("_target_")
    if not isinstance(target, str) or not target.startswith(ALLOWED[key]):
        raise ValueError(f"{key}._target_={target} is not allowed; it must start with {ALLOWED[key]}")
    parameters = inspect.signature(locate(target, key)).parameters
    takes_more = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    for name, value in node.items():
        if name.startswith("_"):
            continue
        if name in supplied:
            raise ValueError(f"{key}.{name} is set by the run itself; leave it out")
        if name not in parameters:
            if takes_more:
                continue
            close = difflib.get_close_matches(name, parameters, n=1)
            hint = f"; did you mean {key}.{close[0]}?" if close else f"; it takes {', '.join(parameters)}"
            raise ValueError(f"{key}.{name} is not an argument of {target}{hint}")
        annotation = parameters[name].annotation
        if value != parameters[name].default and not _fits(value, annotation):
            raise ValueError(f"{key}.{name} must be {_spell(annotation)}, got {value}")
    missing = [
        f"{key}.{name}"
        for name, parameter in parameters.items()
        if parameter.default is inspect.Parameter.empty
        and parameter.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        and name not in node
        and name not in supplied
    ]
    if missing:
        raise ValueError(f"{key} ({target}) needs a value for {', '.join(missing)}")


def locate(target: str, key: str) -> Any:
    """Import what a `_target_` names.

    Raises:
        ValueError: if there is no such thing.
    """
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{key}._target_={target} cannot be imported: {error}") from error
    if not callable(found):
        raise ValueError(f"{key}._target_={target} cannot be called; name a class or a function")
    return found


def build(node: dict[str, Any], key: str, **supplied: Any) -> Any:
    """Call what the group's `_target_` names with the group's values and those that the code supplies."""
    values = {name: value for name, value in node.items() if not name.startswith("_")}
    return locate(node["_target_"], key)(**{**values, **supplied})


def _fits(value: Any, annotation: Any) -> bool:
    """Whether a value from YAML is of the annotated type; annotations that YAML cannot express fit anything."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin in (list, tuple, Sequence):
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if annotation in (int, float):
        numbers = (int, float) if annotation is float else (int,)
        return isinstance(value, numbers) and not isinstance(value, bool)
    if annotation in (bool, str, types.NoneType):
        return isinstance(value, annotation)
    return True


def _spell(annotation: Any) -> str:
    """A type as a person writes it: int, list of int, bool or null."""
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return " or ".join(_spell(argument) for argument in arguments)
    if typing.get_origin(annotation) in (list, tuple, Sequence):
        return f"a list of {_spell(arguments[0])}"
    return "null" if annotation is types.NoneType else str(getattr(annotation, "__name__", annotation))
