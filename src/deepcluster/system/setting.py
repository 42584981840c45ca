"""Settings with limits: a dataclass field tells its default, its limits, and whether a resumed run may change it.

    @dataclass(kw_only=True)
    class Schedule:
        every: int = setting(1, at_least=1, hint="1 reassigns at every epoch")

        def __post_init__(self) -> None:
            check(self, "reassign")

refuses `reassign.every=0` by "reassign.every must be at least 1, got 0; 1 reassigns at every epoch".
"""

import copy
import math
import os
from collections.abc import Sequence
from dataclasses import Field, field, fields
from typing import Any, TypeVar

T = TypeVar("T")
MAY_CHANGE = "may change"  # key in a field's metadata: whether a resumed run may change it
IS_PATH = "is a path"  # another: "~" is expanded, and an empty one is refused


def setting(
    default: T,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    one_of: Sequence[Any] = (),
    hint: str = "",
    may_change: bool = False,
    is_path: bool = False,
) -> T:
    """A dataclass field with limits, which :func:`check` applies. None is always allowed.

    Args:
        default: a list or dictionary is copied for each object.
        at_least, above, at_most, below: limits of a number, or of each number of a list.
        one_of: the allowed values.
        hint: the way out, at the end of the message.
        may_change: a resumed run may change it, because it does not change what is learned.
        is_path: a file's or folder's name, or a list of them: :func:`check` expands "~" and refuses an empty one.
    """
    limits = {"at_least": at_least, "above": above, "at_most": at_most, "below": below}
    metadata: dict[str, Any] = {name: value for name, value in limits.items() if value is not None}
    metadata |= {"one_of": tuple(one_of), "hint": hint, MAY_CHANGE: may_change, IS_PATH: is_path}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def check(settings: Any, group: str) -> None:
    """Refuse values outside their limits; expand the paths among them.

    Args:
        settings: a dataclass object.
        group: its place in the config: "clustering", "evaluation.knn".

    Raises:
        ValueError: naming the key, the limit, the value and the way out.
    """
    for setting_field in fields(settings):
        value = getattr(settings, setting_field.name)
        if value is None or not setting_field.metadata:
            continue
        if setting_field.metadata.get(IS_PATH):
            key = f"{group}.{setting_field.name}".lstrip(".")
            paths = checked_path(key, value) if isinstance(value, str) else [checked_path(key, path) for path in value]
            setattr(settings, setting_field.name, paths)
        requirement = _unmet(setting_field, value)
        if requirement:
            hint = setting_field.metadata.get("hint")
            shown = repr(value) if isinstance(value, str) else value
            key = f"{group}.{setting_field.name}".lstrip(".")
            raise ValueError(f"{key} must be {requirement}, got {shown}{f'; {hint}' if hint else ''}")


def checked_path(key: str, path: str) -> str:
    """A path that was typed, with the home folder for "~" and "~user".

    Raises:
        ValueError: if it is empty, which would mean the folder where one stands.
    """
    if not path.strip():
        raise ValueError(f"{key} is empty (a shell variable that is not set?); give a path, or leave {key} out")
    return os.path.expanduser(path)


def _unmet(setting_field: "Field[Any]", value: Any) -> str:
    """The requirement that the value does not meet; empty if it meets all of them."""
    limits = setting_field.metadata
    one_of = limits.get("one_of", ())
    if one_of and value not in one_of:
        return f"one of {', '.join(map(str, one_of))}"
    numbers = value if isinstance(value, list | tuple) else [value]
    if all(_within(number, limits) for number in numbers if isinstance(number, int | float)):
        return ""
    lower = limits.get("at_least", limits.get("above"))
    upper = limits.get("at_most", limits.get("below"))
    opening, closing = "[" if "at_least" in limits else "(", "]" if "at_most" in limits else ")"
    if lower is not None and upper is not None:
        return f"in {opening}{lower:g}, {upper:g}{closing}"
    if lower is not None:
        return f"at least {lower:g}" if "at_least" in limits else f"above {lower:g}"
    if upper is not None:
        return f"at most {upper:g}" if "at_most" in limits else f"below {upper:g}"
    return "a finite number"


def _within(number: float, limits: Any) -> bool:
    return (
        math.isfinite(number)
        and not number < limits.get("at_least", -math.inf)
        and not number <= limits.get("above", -math.inf)
        and not number > limits.get("at_most", math.inf)
        and not number >= limits.get("below", math.inf)
    )
