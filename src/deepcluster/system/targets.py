"""Check the `_target_` of a config group and its arguments before anything starts, and build what it names."""

import difflib
import importlib
import inspect
import types
import typing
from collections.abc import Sequence
from typing import Any

# Group -> the prefix that its `_target_` must have, and the class that it must be or return. A config may come from a
# stranger's checkpoint, and Hydra's own block-list lets builtins.open and torch.load through. The prefix alone is not
# enough, because a module also holds what it imports, such as pytorch_lightning.core.saving.pl_load.
ALLOWED = {
    "arch": ("deepcluster.models.", "deepcluster.models.backbone.Backbone"),
    "trainer": ("pytorch_lightning.", "pytorch_lightning.trainer.Trainer"),
    "callbacks": ("", "pytorch_lightning.callbacks.Callback"),  # any: settings/callbacks.py checks who named it
}
OWN = "_target_"  # the only key of a group that may begin with an underscore


def check_target(node: dict[str, Any], key: str, supplied: tuple[str, ...]) -> None:
    """Refuse a `_target_` that is not allowed or does not exist, and arguments that it does not take.

    Args:
        node: the config of one group, with `_target_`.
        key: the group's name.
        supplied: names of arguments that the code will add.

    Raises:
        ValueError: naming the key, its value, and what would be right.
    """
    target = node.get(OWN)
    _refuse_nested(node, key)
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


def locate(target: Any, key: str) -> Any:
    """Import what a `_target_` names: a class of the group's kind, or a function that is annotated to return one.

    Raises:
        ValueError: if it has another prefix, does not exist, or is something else.
    """
    prefix, kind_name = ALLOWED[key.partition(".")[0]]
    if not isinstance(target, str) or not target.startswith(prefix):
        raise ValueError(f"{key}._target_={target} is not allowed; it must start with {prefix}")
    try:
        named = _imported(target)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{key}._target_={target} cannot be imported: {error}{_suggestion(target)}") from error
    kind: type = _imported(kind_name)
    if not _is_or_returns(named, kind, prefix):
        raise ValueError(
            f"{key}._target_={target} is not allowed; name a {kind.__name__}, or a function that returns one"
        )
    return named


def _imported(name: str) -> Any:
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)


def _suggestion(target: str) -> str:
    """The name in the same module that is spelled most like a target that cannot be imported, as a question."""
    module, _, last = target.replace("lightning.pytorch.", "pytorch_lightning.").rpartition(".")
    try:
        close = difflib.get_close_matches(last, dir(importlib.import_module(module)), n=1)
    except (ImportError, ValueError):
        return ""
    return f"; did you mean {module}.{close[0]}?" if close else ""


def _is_or_returns(named: Any, kind: type, prefix: str) -> bool:
    """Whether it is a class of this kind, or a function with the allowed prefix that is annotated to return one."""
    if isinstance(named, type):
        return issubclass(named, kind)
    if not inspect.isfunction(named) or not named.__module__.startswith(prefix):
        return False
    result = typing.get_type_hints(named).get("return")
    return isinstance(result, type) and issubclass(result, kind)


def _refuse_nested(node: dict[str, Any], key: str) -> None:
    """Refuse a `_target_` inside a group's arguments: nothing there is built, so it is a mistake or an attack."""
    for name, value in node.items():
        if str(name).startswith("_") and name != OWN:
            raise ValueError(f"{key}.{name} is not allowed; a group names one {OWN} and its arguments")
        parts = [value]
        while parts:
            part = parts.pop()
            if isinstance(part, dict) and OWN in part:
                raise ValueError(f"{key}.{name} names a {OWN}, {part[OWN]}; only {key}.{OWN} itself is built")
            parts += part.values() if isinstance(part, dict) else part if isinstance(part, list | tuple) else []


def build(node: dict[str, Any], key: str, **supplied: Any) -> Any:
    """Call what the group's `_target_` names, with the group's values and those that the code supplies."""
    values = {name: value for name, value in node.items() if not name.startswith("_")}
    return locate(node.get(OWN), key)(**{**values, **supplied})


def _fits(value: Any, annotation: Any) -> bool:
    """Whether a value from YAML has the annotated type; for types that YAML does not have, always True."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin in (list, tuple, Sequence):
        return isinstance(value, list | tuple) and all(_fits(item, arguments[0]) for item in value)
    if annotation in (int, float):
        numbers = (int, float) if annotation is float else (int,)
        return isinstance(value, numbers) and not isinstance(value, bool)
    if annotation in (bool, str, types.NoneType):
        return isinstance(value, annotation)
    return True


def _spell(annotation: Any) -> str:
    """A type in words: int, a list of int, bool or null."""
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return " or ".join(_spell(argument) for argument in arguments)
    if typing.get_origin(annotation) in (list, tuple, Sequence):
        return f"a list of {_spell(arguments[0])}"
    return "null" if annotation is types.NoneType else str(getattr(annotation, "__name__", annotation))
