"""Nested dictionaries as flat ones, for settings and figures."""

from typing import Any


def flat(node: dict[Any, Any], separator: str = ".", prefix: str = "") -> dict[str, Any]:
    """Each value by the joined names that lead to it; an empty dictionary counts as a value.

    >>> flat({"clustering": {"k": 5}, "seed": 1})
    {'clustering.k': 5, 'seed': 1}
    """
    values: dict[str, Any] = {}
    for name, value in node.items():
        if isinstance(value, dict) and value:
            values |= flat(value, separator, f"{prefix}{name}{separator}")
        else:
            values[f"{prefix}{name}"] = value
    return values
